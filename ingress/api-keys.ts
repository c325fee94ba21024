/**
 * Who may call an application that asks for a key: looked up by the key's public id, then hashed and compared in constant time.
 * Whatever is wrong with a key, the answer is the same and takes the same work. Knows no sockets and no clock.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { apiKeyId, type RoutedApiKey } from "../protocol/api-key.ts";
import type { FlatHeaders } from "../protocol/heads.ts";

const BEARER = /^bearer +([\x21-\x7e]+)$/i;

/** Header lines, or gRPC metadata, of a caller: values by names in lower case. */
interface Shown {
  readonly authorization?: string | undefined;
  /** As Anthropic's clients show it. */
  readonly "x-api-key"?: string | string[] | undefined;
}

interface Held {
  readonly hash: Buffer;
  readonly expiresAtMs: number;
}
/** Stands for an unknown id: compared like any other, and never good. */
const NOBODYS: Held = { hash: Buffer.alloc(32), expiresAtMs: -Infinity };

export class Keyring {
  readonly #keys: ReadonlyMap<string, Held>;

  constructor(keys: readonly RoutedApiKey[]) {
    this.#keys = new Map(
      keys.map(({ id, hash, expiresAtMs }) => [
        id,
        { hash: Buffer.from(hash, "hex"), expiresAtMs: expiresAtMs ?? Infinity },
      ]),
    );
  }

  /** By the bearer's key, else by `x-api-key`. `meshTimeMs`: the coordinator's time, ms since 1970. */
  admits({ authorization, "x-api-key": other }: Shown, meshTimeMs: number): boolean {
    const text = BEARER.exec(authorization ?? "")?.[1] ?? String(other ?? "");
    const id = apiKeyId(text);
    const { hash, expiresAtMs } = (id === null ? undefined : this.#keys.get(id)) ?? NOBODYS;
    const same = timingSafeEqual(createHash("sha256").update(text).digest(), hash);
    return same && meshTimeMs <= expiresAtMs;
  }
}

/** Null where anybody may call. */
export const keyringOf = (keys: readonly RoutedApiKey[] | undefined): Keyring | null =>
  keys === undefined ? null : new Keyring(keys);

const SHOWN_AS: ReadonlySet<string> = new Set(["authorization", "x-api-key"]);

/** The lines for user code: a key that let a request in is the ingress's business and no one else's. */
export const withoutKey = (lines: FlatHeaders): string[] => lines.filter((_, i) => !SHOWN_AS.has(lines[i - (i % 2)]!));
