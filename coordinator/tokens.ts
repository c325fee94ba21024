/**
 * Join tokens: random, stored as SHA-256 only, with an expiry and a number of uses, revocable. And approval, where it is required.
 * Knows no clock and no network.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import * as z from "zod";
import { SkeinError } from "../protocol/errors.ts";
import { newSecret } from "./keys.ts";
import type { StateStore } from "./store/store.ts";

const KEY = "join-tokens";
/** Tokens that exist at one time, and workers that wait for approval. */
const TOKENS_MAX = 1_000;
const WAITING_MAX = 100;

const tokenSchema = z.strictObject({
  id: z.string(),
  hash: z.string(),
  label: z.string(),
  expiresAtMs: z.number(),
  usesLeft: z.number(),
  /** Good on this host only. */
  host: z.string().nullable(),
});
const storedSchema = z.strictObject({ tokens: z.array(tokenSchema), approved: z.array(z.string()) });
type Token = z.output<typeof tokenSchema>;

export interface TokenDetails extends Omit<Token, "hash"> {}

const hashOf = (token: string): Buffer => createHash("sha256").update(token).digest();

export class JoinTokens {
  readonly #store: StateStore;
  readonly #requireApproval: boolean;
  #revision: number;
  #tokens: Token[];
  #approved: Set<string>;
  /** Workers that asked, newest last. */
  readonly #waiting = new Map<string, { readonly name: string; readonly host: string }>();
  /** Made anew at every start, never stored: for the worker that this coordinator's parent starts. */
  #local: { hash: Buffer; host: string } | null = null;
  #saving: Promise<void> = Promise.resolve();

  private constructor(
    store: StateStore,
    revision: number,
    stored: z.output<typeof storedSchema>,
    requireApproval: boolean,
  ) {
    this.#store = store;
    this.#revision = revision;
    this.#tokens = stored.tokens;
    this.#approved = new Set(stored.approved);
    this.#requireApproval = requireApproval;
  }

  static async open(store: StateStore, requireApproval: boolean): Promise<JoinTokens> {
    const entry = await store.get(KEY);
    const stored = entry === null ? { tokens: [], approved: [] } : storedSchema.parse(JSON.parse(entry.value));
    return new JoinTokens(store, entry?.revision ?? 0, stored, requireApproval);
  }

  local(host: string): string {
    const token = newSecret();
    this.#local = { hash: hashOf(token), host };
    return token;
  }

  async create(options: {
    label: string;
    ttlMs: number;
    maxUses: number;
    nowMs: number;
  }): Promise<{ id: string; token: string }> {
    this.#tokens = this.#tokens.filter((t) => t.expiresAtMs > options.nowMs && t.usesLeft > 0);
    if (this.#tokens.length >= TOKENS_MAX)
      throw new SkeinError("CONFLICT", `There are ${TOKENS_MAX} join tokens. Revoke some first.`);
    const token = newSecret();
    const id = newSecret().slice(0, 8);
    this.#tokens.push({
      id,
      hash: hashOf(token).toString("hex"),
      label: options.label,
      expiresAtMs: options.nowMs + options.ttlMs,
      usesLeft: options.maxUses,
      host: null,
    });
    await this.#save();
    return { id, token };
  }

  list(nowMs: number): TokenDetails[] {
    return this.#tokens
      .filter((t) => t.expiresAtMs > nowMs && t.usesLeft > 0)
      .map(({ hash: _secret, ...details }) => details);
  }

  async revoke(id: string): Promise<boolean> {
    const before = this.#tokens.length;
    this.#tokens = this.#tokens.filter((t) => t.id !== id);
    if (this.#tokens.length === before) return false;
    await this.#save();
    return true;
  }

  /** Whether a worker on this host may join with it. Takes no use: it may have to wait for approval, and come again. */
  isGood(text: string, host: string, nowMs: number): boolean {
    return this.#find(text, host, nowMs) !== null;
  }

  /** Takes one use. */
  redeem(text: string, host: string, nowMs: number): boolean {
    const found = this.#find(text, host, nowMs);
    if (found === null || found === "local") return found !== null;
    this.#tokens = this.#tokens.map((t) => (t.id === found.id ? { ...t, usesLeft: t.usesLeft - 1 } : t));
    void this.#save().catch(() => {});
    return true;
  }

  /** Compares with every token in constant time, so that an answer's delay says nothing. */
  #find(text: string, host: string, nowMs: number): Token | "local" | null {
    const hash = hashOf(text);
    if (this.isLocal(text)) return host === this.#local?.host ? "local" : null;
    let found: Token | null = null;
    for (const token of this.#tokens) if (timingSafeEqual(hash, Buffer.from(token.hash, "hex"))) found = token;
    const good =
      found !== null && found.expiresAtMs > nowMs && found.usesLeft > 0 && (found.host === null || found.host === host);
    return good ? found : null;
  }

  /** The token of the worker that this coordinator's parent starts. */
  isLocal(text: string): boolean {
    return this.#local !== null && timingSafeEqual(hashOf(text), this.#local.hash);
  }

  /** Null when the worker may come in, else the sentence that it is told. `own`: it was started with this coordinator, and needs no approval. */
  approval(worker: string, join: { host: string; name: string; own: boolean }): string | null {
    if (!this.#requireApproval || join.own || this.#approved.has(worker)) return null;
    this.#waiting.delete(worker);
    this.#waiting.set(worker, { name: join.name, host: join.host });
    for (const oldest of this.#waiting.keys()) if (this.#waiting.size > WAITING_MAX) this.#waiting.delete(oldest);
    return "This worker waits for the operator's approval.";
  }

  waiting(): { worker: string; name: string; host: string }[] {
    return [...this.#waiting].map(([worker, about]) => ({ worker, ...about }));
  }

  async approve(worker: string): Promise<boolean> {
    if (!this.#waiting.delete(worker)) return false;
    this.#approved.add(worker);
    await this.#save();
    return true;
  }

  #save(): Promise<void> {
    const next = this.#saving
      .catch(() => {})
      .then(async () => {
        this.#revision = await this.#store.put(
          KEY,
          JSON.stringify({ tokens: this.#tokens, approved: [...this.#approved] }),
          this.#revision,
        );
      });
    this.#saving = next;
    return next;
  }
}
