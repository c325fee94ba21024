/**
 * API keys of applications. An application that was given a key is closed: callers need one that is valid. It stays closed when its last key
 * expires or is revoked, until an operator opens it: taking a leaked key back must not let everyone in. What an event
 * changes is in operators.ts. Knows no clock and no network.
 */
import { createHash, randomBytes } from "node:crypto";
import { API_KEY_ID, apiKeyText } from "../protocol/api-key.ts";
import { SkeinError } from "../protocol/errors.ts";
import { API_KEYS_MAX, LABEL_MAX, NAME_MAX } from "../protocol/limits.ts";
import { isLoopbackHost } from "./api/guard.ts";
import { newSecret } from "./keys.ts";
import type { Loop } from "./loop.ts";
import { isReservedName } from "./names.ts";
import type { ApiKey, DesiredState } from "./state.ts";

type Keys = DesiredState["apiKeys"];

/** What may be shown of a key. */
export type ApiKeyDetails = Omit<ApiKey, "hash">;

export class ApiKeys {
  readonly #loop: Loop;
  readonly #now: () => number;

  constructor(loop: Loop, now: () => number) {
    this.#loop = loop;
    this.#now = now;
  }

  get #keys(): Keys {
    return this.#loop.state.desired.apiKeys;
  }

  /** The only time that a key is seen. The application need not be there yet: so it is never open for a moment. */
  async create(wish: { app: string; name: string; ttlMs: number | null }): Promise<ApiKeyDetails & { key: string }> {
    const { app } = wish;
    if (app === "" || app.length > NAME_MAX || isReservedName(app))
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `app: expected the name of an application, up to ${NAME_MAX} characters.`,
      );
    if (Object.values(this.#keys).flat().length >= API_KEYS_MAX)
      throw new SkeinError("CONFLICT", `There are ${API_KEYS_MAX} API keys. Revoke some first.`);
    const id = randomBytes(API_KEY_ID / 2).toString("hex");
    const key = apiKeyText(id, newSecret());
    const nowMs = this.#now();
    const details: ApiKeyDetails = {
      id,
      app,
      name: wish.name.slice(0, LABEL_MAX),
      createdAtMs: nowMs,
      expiresAtMs: wish.ttlMs === null ? null : nowMs + wish.ttlMs,
    };
    const hash = createHash("sha256").update(key).digest("hex");
    await this.#loop.dispatch({ type: "apiKeyCreated", key: { ...details, hash } });
    return { ...details, key };
  }

  list(): ApiKeyDetails[] {
    return Object.values(this.#keys)
      .flat()
      .map(({ hash: _secret, ...details }) => details);
  }

  /** Applications that need a key and have none that is valid: nobody can call them. */
  unreachable(): string[] {
    const valid = (key: ApiKey): boolean => key.expiresAtMs === null || key.expiresAtMs >= this.#now();
    return Object.entries(this.#keys).flatMap(([app, keys]) => (keys.some(valid) ? [] : [app]));
  }

  /** False when there is no such key. */
  async revoke(id: string): Promise<boolean> {
    if (!this.list().some((key) => key.id === id)) return false;
    await this.#loop.dispatch({ type: "apiKeyRevoked", id });
    return true;
  }

  /** Takes an application's keys away and lets everyone call it. False when everyone could already. */
  async open(app: string): Promise<boolean> {
    if (!Object.hasOwn(this.#keys, app)) return false;
    await this.#loop.dispatch({ type: "applicationOpened", app });
    return true;
  }
}

/** Told while clients of other machines can call applications that ask for no key. */
export function openWarnings({ options, apps, apiKeys }: DesiredState): string[] {
  const { http, proxyLocation } = options;
  if (http === null || proxyLocation === "Disabled" || isLoopbackHost(http.host)) return [];
  const open = Object.values(apps).flatMap((app) =>
    app.deleting || apiKeys[app.name] !== undefined ? [] : [app.name],
  );
  if (open.length === 0) return [];
  return [
    `http_options.host ${http.host}: anyone who reaches this machine can call ${open.join(", ")}. To ask for a key: skein api-key create --app NAME.`,
  ];
}
