/**
 * WebCrypto that answers in the same turn: the real one works on another thread and answers at a time that no seed decides.
 * Digests are the real ones. Signatures are keyed hashes: whoever signs with `signFake` is believed by `verifyTicket`.
 */
import { createHash } from "node:crypto";
import { ticketSchema, type PublicKey, type Ticket } from "../../protocol/ticket.ts";

const SECRET = "the simulation's only key";
export const KID = "sim";
export const KEYS: readonly PublicKey[] = [{ kid: KID, key: "c2lt" }];

const tagOf = (body: Uint8Array): Buffer => createHash("sha256").update(SECRET).update(body).digest();

/** A ticket in the form of protocol/ticket.ts. */
export function signFake(claims: Ticket): string {
  const body = Buffer.from(JSON.stringify(claims)).toString("base64url");
  return `${body}.${tagOf(Buffer.from(body)).toString("base64url")}`;
}

export function readFake(text: string, nowMs: number): Ticket | null {
  const [body = "", tag = ""] = text.split(".");
  if (tagOf(Buffer.from(body)).toString("base64url") !== tag) return null;
  const ticket = ticketSchema.parse(JSON.parse(Buffer.from(body, "base64url").toString()));
  return nowMs <= ticket.notAfter ? ticket : null;
}

const bytesOf = (source: BufferSource): Uint8Array =>
  source instanceof ArrayBuffer
    ? new Uint8Array(source)
    : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);

/** For this process, until it ends. */
export function useInstantCrypto(): void {
  const replace = (name: string, value: unknown): void =>
    void Object.defineProperty(crypto.subtle, name, { value, configurable: true });
  replace("digest", (_algorithm: string, data: BufferSource) => {
    const hash = createHash("sha256").update(bytesOf(data)).digest();
    return Promise.resolve(new Uint8Array(hash).buffer);
  });
  replace("importKey", () => Promise.resolve({}));
  replace("verify", (_algorithm: string, _key: unknown, signature: BufferSource, data: BufferSource) =>
    Promise.resolve(tagOf(bytesOf(data)).equals(bytesOf(signature))),
  );
}
