/** One credential of every kind that there is in a mesh, good, broken, expired and revoked, for tables that try each of them. */
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { signerOf } from "../../coordinator/keys.ts";
import type { Ticket } from "../../protocol/ticket.ts";
import type { Real } from "./real.ts";

export const KINDS = [
  "none",
  "nonsense",
  "admin token",
  "tampered admin token",
  "join token",
  "expired join token",
  "revoked join token",
  "API key",
  "worker ticket",
  "tampered worker ticket",
  "expired worker ticket",
  "ingress ticket",
  "tampered ingress ticket",
  "expired ingress ticket",
  "replica ticket",
  "tampered replica ticket",
  "expired replica ticket",
  "caller ticket",
  "tampered caller ticket",
  "expired caller ticket",
] as const;
export type Kind = (typeof KINDS)[number];

/** Whom the tickets name. */
export const WORKER = { worker: "w1", host: "h1" } as const;
export const INGRESS = { ingress: "ingress-h1", host: "h1" } as const;

/** The last character of a signature has bits that mean nothing: the first one is changed. */
const tampered = (ticket: string): string => {
  const at = ticket.lastIndexOf(".") + 1;
  return `${ticket.slice(0, at)}${ticket[at] === "A" ? "B" : "A"}${ticket.slice(at + 1)}`;
};

export async function everyCredential(real: Real): Promise<Readonly<Record<Kind, string | null>>> {
  const signer = signerOf(createPrivateKey(readFileSync(join(real.dataDir, "coordinator", "signing-key.pem"), "utf8")));
  const ticket = (claims: object, lifetimeMs: number): string =>
    signer.sign({ ...claims, kid: signer.kid, notAfter: Date.now() + lifetimeMs } as Ticket);
  const claims = {
    worker: { use: "worker", ...WORKER },
    ingress: { use: "ingress", ...INGRESS },
    caller: { use: "caller" },
    replica: { use: "replica", replica: "a#D#x", incarnation: 1, app: "a", deployment: "D", ...WORKER, callees: [] },
  };
  const post = async (path: string, body: object): Promise<Record<string, string>> =>
    (await (await real.call(path, { method: "POST", body: JSON.stringify(body) })).json()) as Record<string, string>;
  const revoked = await post("/api/skein/join-tokens", {});
  await real.call(`/api/skein/join-tokens/${revoked["id"]}`, { method: "DELETE" });
  const expired = await post("/api/skein/join-tokens", { expires_in_s: 0.001 });
  await new Promise((resolve) => setTimeout(resolve, 10));
  const good = Object.fromEntries(
    Object.entries(claims).flatMap(([use, of]) => {
      const whole = ticket(of, 60_000);
      return [
        [`${use} ticket`, whole],
        [`tampered ${use} ticket`, tampered(whole)],
        [`expired ${use} ticket`, ticket(of, -1)],
      ];
    }),
  );
  return {
    ...good,
    none: null,
    nonsense: "nonsense",
    "admin token": real.admin,
    "tampered admin token": `${real.admin.startsWith("A") ? "B" : "A"}${real.admin.slice(1)}`,
    "join token": (await post("/api/skein/join-tokens", { max_uses: 1_000 }))["token"]!,
    "expired join token": expired["token"]!,
    "revoked join token": revoked["token"]!,
    "API key": (await post("/api/skein/api-keys", { app: "a" }))["key"]!,
  } as Record<Kind, string | null>;
}
