/**
 * Tickets: what lets a replica or a script into an ingress, and an ingress or agent back to the coordinator, checked offline by public key.
 * `base64url(JSON claims) . base64url(Ed25519 signature)`. Signed by the coordinator only; revoked through the routing table.
 * Times are the coordinator's clock; the checker passes its own estimate of it.
 */
import * as z from "zod";
import { SkeinError } from "./errors.ts";

export const ticketSchema = z.discriminatedUnion("use", [
  z.strictObject({
    use: z.literal("replica"),
    kid: z.string(),
    /** ms since 1970, coordinator's clock. */
    notAfter: z.number(),
    replica: z.string(),
    /** Incarnation of the replica: a copy of an older one is refused. */
    incarnation: z.number(),
    app: z.string(),
    deployment: z.string(),
    worker: z.string(),
    host: z.string(),
    /** Deployment ids (`app#deployment`) that this replica may call through the ingress. */
    callees: z.array(z.string()),
  }),
  /** A script that has shown the admin token: it may call every deployment, and serves nothing. */
  z.strictObject({
    use: z.literal("caller"),
    kid: z.string(),
    notAfter: z.number(),
  }),
  z.strictObject({
    use: z.literal("worker"),
    kid: z.string(),
    notAfter: z.number(),
    worker: z.string(),
    host: z.string(),
  }),
  z.strictObject({
    use: z.literal("ingress"),
    kid: z.string(),
    notAfter: z.number(),
    ingress: z.string(),
    host: z.string(),
  }),
]);
export type Ticket = z.output<typeof ticketSchema>;
export type ReplicaTicket = Extract<Ticket, { use: "replica" }>;

/** Public key as in the routing table: raw Ed25519, base64url. */
export interface PublicKey {
  readonly kid: string;
  readonly key: string;
}

const base64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
const fromBase64url = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

const TICKET_MAX = 16_384;
const refused = (why: string): SkeinError => new SkeinError("UNAUTHENTICATED", `The ticket is not valid: ${why}.`);

export async function signTicket(claims: Ticket, privateKey: CryptoKey): Promise<string> {
  const body = base64url(new TextEncoder().encode(JSON.stringify(claims)));
  const signature = await crypto.subtle.sign("Ed25519", privateKey, new TextEncoder().encode(body));
  return `${body}.${base64url(new Uint8Array(signature))}`;
}

export async function generateKeys(kid: string): Promise<{ privateKey: CryptoKey; publicKey: PublicKey }> {
  const pair = (await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"])) as CryptoKeyPair;
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  return { privateKey: pair.privateKey, publicKey: { kid, key: base64url(raw) } };
}

/** Checks form, key, signature and expiry. Throws `UNAUTHENTICATED`; what a ticket allows is the caller's to check. */
export async function verifyTicket(text: string, keys: readonly PublicKey[], now: number): Promise<Ticket> {
  const dot = text.indexOf(".");
  if (dot < 0 || text.length > TICKET_MAX) throw refused("malformed");
  let ticket: Ticket;
  let signature: Uint8Array<ArrayBuffer>;
  try {
    ticket = ticketSchema.parse(JSON.parse(new TextDecoder().decode(fromBase64url(text.slice(0, dot)))));
    signature = fromBase64url(text.slice(dot + 1));
  } catch {
    throw refused("malformed");
  }
  const key = keys.find((k) => k.kid === ticket.kid);
  if (key === undefined) throw refused("not signed by this mesh");
  const publicKey = await crypto.subtle.importKey("raw", fromBase64url(key.key), "Ed25519", false, ["verify"]);
  if (!(await crypto.subtle.verify("Ed25519", publicKey, signature, new TextEncoder().encode(text.slice(0, dot)))))
    throw refused("not signed by this mesh");
  if (now > ticket.notAfter) throw refused("expired");
  return ticket;
}
