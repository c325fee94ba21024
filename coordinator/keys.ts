/**
 * The mesh's signing key and small secrets in the data directory, each in a file that only its owner can read.
 * Tickets have the form of protocol/ticket.ts; here they are signed and checked synchronously.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
  type KeyObject,
} from "node:crypto";
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ticketSchema, type PublicKey, type Ticket } from "../protocol/ticket.ts";

const TICKET_MAX = 16_384;

export interface Signer {
  readonly kid: string;
  readonly keys: readonly PublicKey[];
  sign(claims: Ticket): string;
  /** Null when form, key, signature or time is wrong; never says which. */
  verify(text: string, nowMs: number): Ticket | null;
}

/** Loads the key of this data directory, or makes it: a coordinator that starts again can check and sign what the one before signed. */
export function loadSigner(directory: string): Signer {
  const file = join(directory, "signing-key.pem");
  const pem = readOrCreate(file, () =>
    generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  );
  return signerOf(createPrivateKey(pem));
}

export function signerOf(privateKey: KeyObject): Signer {
  const publicKey = createPublicKey(privateKey);
  const key = publicKey.export({ format: "jwk" }).x ?? "";
  const kid = createHash("sha256").update(key).digest("hex").slice(0, 16);
  return {
    kid,
    keys: [{ kid, key }],
    sign(claims) {
      const body = Buffer.from(JSON.stringify(claims)).toString("base64url");
      return `${body}.${sign(null, Buffer.from(body), privateKey).toString("base64url")}`;
    },
    verify(text, nowMs) {
      const dot = text.indexOf(".");
      if (dot < 0 || text.length > TICKET_MAX) return null;
      const body = text.slice(0, dot);
      if (!verify(null, Buffer.from(body), publicKey, Buffer.from(text.slice(dot + 1), "base64url"))) return null;
      const parsed = ticketSchema.safeParse(json(Buffer.from(body, "base64url").toString()));
      return parsed.success && parsed.data.kid === kid && nowMs <= parsed.data.notAfter ? parsed.data : null;
    },
  };
}

const json = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** A secret of 256 bits. */
export const newSecret = (): string => randomBytes(32).toString("base64url");

/** The file's text; made with mode 0600 when it isn't there. */
export function readOrCreate(file: string, make: () => string): string {
  if (!existsSync(file)) {
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, make(), { mode: 0o600 });
    renameSync(temporary, file);
  }
  chmodSync(file, 0o600);
  return readFileSync(file, "utf8").trim();
}
