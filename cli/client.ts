/**
 * The operators' REST API as the command uses it. Turns every way in which it may fail into one sentence and an exit code.
 * Knows routes, status codes and the admin token; knows nothing of builds, terminals or processes.
 */
import { readFile } from "node:fs/promises";
import type { IngressAddress } from "../protocol/control.ts";
import { EXIT } from "../protocol/errors.ts";
import type { InstanceDetails } from "../protocol/status.ts";
import { CommandFailed, Interrupted } from "./failure.ts";
import type { Answer, Fetch } from "./fetch.ts";

/** An answer to a plain question takes milliseconds; a busy machine gets this long, ms. */
const ANSWER_WITHIN_MS = 30_000;
/** Text of an error answer that is shown, characters. */
const ERROR_SHOWN = 4_000;

export interface JoinToken {
  readonly id: string;
  readonly expires_at_ms: number;
  readonly uses_left: number;
}

export interface ApiKey {
  readonly id: string;
  readonly app: string;
  readonly name: string;
  readonly created_at_ms: number;
  /** Null: it doesn't expire. */
  readonly expires_at_ms: number | null;
  readonly expired: boolean;
}

interface Call {
  readonly method?: string;
  readonly json?: unknown;
  readonly body?: Uint8Array<ArrayBuffer>;
  readonly query?: Readonly<Record<string, string>>;
  /** No limit in time: a stream that is followed. */
  readonly endless?: boolean;
  /** Status codes that are an answer, not a failure. */
  readonly allow?: readonly number[];
}

export class Client {
  /** `http://host:port` without a slash at the end. */
  readonly address: string;
  readonly #token: string | null;
  readonly #fetch: Fetch;
  readonly #stop: AbortSignal;

  constructor(address: string, token: string | null, fetcher: Fetch, stop: AbortSignal) {
    this.address = address.replace(/\/+$/, "");
    this.#token = token;
    this.#fetch = fetcher;
    this.#stop = stop;
  }

  /** The same mesh and credential, with another wish to stop: to tidy up after Ctrl-C. */
  until(stop: AbortSignal): Client {
    return new Client(this.address, this.#token, this.#fetch, stop);
  }

  /** Link of the status page. The token is in the fragment, which browsers never send: a link to open, not to log. */
  get statusPage(): string {
    return `${this.address}/${this.#token === null ? "" : `#token=${encodeURIComponent(this.#token)}`}`;
  }

  /** The whole state in Ray's shape. */
  async status(): Promise<InstanceDetails> {
    return (await (await this.#call("/api/serve/applications/")).json()) as InstanceDetails;
  }

  /** Ray's declarative deploy: applications that aren't in `config` are removed. Returns warnings. */
  async deploy(config: unknown): Promise<string[]> {
    return warningsOf(await this.#call("/api/serve/applications/", { method: "PUT", json: config }));
  }

  /** Takes every application away. */
  async deleteAll(): Promise<void> {
    await (await this.#call("/api/serve/applications/", { method: "DELETE" })).text();
  }

  /** Takes every application away and asks the command that started the mesh to end it. */
  async endMesh(): Promise<void> {
    await (await this.#call("/api/skein/shutdown", { method: "POST" })).text();
  }

  /** Adds or replaces one application and leaves the others alone. Returns warnings. */
  async putApplication(name: string, application: unknown): Promise<string[]> {
    return warningsOf(
      await this.#call(`/api/skein/applications/${encodeURIComponent(name)}`, { method: "PUT", json: application }),
    );
  }

  /** Takes one application away; one that is gone already is fine. */
  async deleteApplication(name: string): Promise<void> {
    await (
      await this.#call(`/api/skein/applications/${encodeURIComponent(name)}`, { method: "DELETE", allow: [404] })
    ).text();
  }

  async hasBlob(sha256: string): Promise<boolean> {
    return (await this.#call(`/api/skein/blobs/${sha256}`, { method: "HEAD", allow: [404] })).ok;
  }

  async putBlob(sha256: string, bytes: Uint8Array): Promise<void> {
    await (
      await this.#call(`/api/skein/blobs/${sha256}`, { method: "PUT", body: bytes as Uint8Array<ArrayBuffer> })
    ).text();
  }

  /** Log text as it comes; endless with `follow`. `target`: application or application/deployment. */
  async logs(target: string, follow: boolean): Promise<AsyncIterable<Uint8Array>> {
    const path = target.split("/").map(encodeURIComponent).join("/");
    const response = await this.#call(`/api/skein/logs/${path}`, {
      query: follow ? { follow: "1" } : {},
      endless: true,
    });
    return response.body ?? nothing();
  }

  /** The answer holds the only copy of the token. */
  async createJoinToken(options: {
    expires_in_s?: number;
    max_uses?: number;
  }): Promise<{ token: string; url?: string; link?: string } & JoinToken> {
    return (await (await this.#call("/api/skein/join-tokens", { method: "POST", json: options })).json()) as {
      token: string;
    } & JoinToken;
  }

  /** For handle calls of a script: a ticket that lasts for minutes, and where ingresses can be dialled. */
  async createCaller(): Promise<{ ticket: string; ingresses: IngressAddress[] }> {
    return (await (await this.#call("/api/skein/callers", { method: "POST" })).json()) as {
      ticket: string;
      ingresses: IngressAddress[];
    };
  }

  async joinTokens(): Promise<JoinToken[]> {
    return ((await (await this.#call("/api/skein/join-tokens")).json()) as { tokens: JoinToken[] }).tokens;
  }

  async revokeJoinToken(id: string): Promise<void> {
    await (await this.#call(`/api/skein/join-tokens/${encodeURIComponent(id)}`, { method: "DELETE" })).text();
  }

  /** The answer holds the only copy of the key. */
  async createApiKey(wish: {
    app: string;
    name?: string;
    expires_in_s?: number;
  }): Promise<{ key: string; deployed: boolean } & ApiKey> {
    return (await (await this.#call("/api/skein/api-keys", { method: "POST", json: wish })).json()) as {
      key: string;
      deployed: boolean;
    } & ApiKey;
  }

  /** `unreachable`: applications that need a key and have none that is valid. */
  async apiKeys(): Promise<{ keys: ApiKey[]; unreachable: string[] }> {
    return (await (await this.#call("/api/skein/api-keys")).json()) as { keys: ApiKey[]; unreachable: string[] };
  }

  async revokeApiKey(id: string): Promise<void> {
    await (await this.#call(`/api/skein/api-keys/${encodeURIComponent(id)}`, { method: "DELETE" })).text();
  }

  /** Takes all keys of an application away and lets everyone call it. */
  async openApplication(name: string): Promise<void> {
    await (
      await this.#call(`/api/skein/applications/${encodeURIComponent(name)}/api-keys`, { method: "DELETE" })
    ).text();
  }

  /** Whether a mesh answers at all, credentials apart. Another program may have taken the port of one that is gone. */
  async alive(withinMs: number): Promise<boolean> {
    try {
      const response = await this.#fetch(`${this.address}/api/ray/version`, {
        headers: this.#authorization,
        redirect: "error",
        signal: AbortSignal.any([this.#stop, AbortSignal.timeout(withinMs)]),
      });
      const text = await response.text();
      return response.status === 401 || (response.ok && text.includes('"skein-'));
    } catch {
      return false;
    }
  }

  get #authorization(): Record<string, string> {
    return this.#token === null ? {} : { authorization: `Bearer ${this.#token}` };
  }

  async #call(path: string, call: Call = {}): Promise<Answer> {
    const url =
      `${this.address}${path}${call.query === undefined ? "" : `?${new URLSearchParams(call.query)}`}`.replace(
        /\?$/,
        "",
      );
    const limit = AbortSignal.timeout(ANSWER_WITHIN_MS);
    let response: Answer;
    try {
      response = await this.#fetch(url, {
        method: call.method ?? "GET",
        headers: {
          ...this.#authorization,
          ...(call.json === undefined ? {} : { "content-type": "application/json" }),
        },
        redirect: "error",
        signal: call.endless === true ? this.#stop : AbortSignal.any([this.#stop, limit]),
        ...(call.json === undefined ? {} : { body: JSON.stringify(call.json) }),
        ...(call.body === undefined ? {} : { body: call.body }),
      });
    } catch (cause) {
      if (this.#stop.aborted) throw new Interrupted();
      if (limit.aborted)
        throw new CommandFailed(
          EXIT.timeout,
          `The coordinator at ${this.address} did not answer within ${ANSWER_WITHIN_MS / 1000} s. See \`skein doctor\`.`,
          { cause },
        );
      throw unreachable(this.address, cause);
    }
    if (response.ok || call.allow?.includes(response.status) === true) return response;
    throw refused(response.status, await errorText(response), this.address, this.#token !== null);
  }
}

function unreachable(address: string, cause: unknown): CommandFailed {
  const reason =
    cause instanceof Error && cause.cause instanceof Error
      ? ((cause.cause as NodeJS.ErrnoException).code ?? cause.cause.message)
      : String(cause);
  return new CommandFailed(
    EXIT.unreachable,
    `No mesh answers at ${address} (${reason}). Start one with \`skein start\`, or name another with --address or SKEIN_ADDRESS.`,
    { cause },
  );
}

function refused(status: number, text: string, address: string, hadToken: boolean): CommandFailed {
  if (status === 401 || status === 403) {
    const why = hadToken ? "does not accept the admin token" : "wants the admin token";
    return new CommandFailed(
      EXIT.notAllowed,
      `The coordinator at ${address} ${why}. Run the command as the user who started the mesh, with the same --data-dir, or set SKEIN_ADMIN_TOKEN.`,
    );
  }
  if (status === 400) return new CommandFailed(EXIT.badConfig, text);
  return new CommandFailed(
    status === 404 ? EXIT.notFound : EXIT.failed,
    text === "" ? `The coordinator at ${address} answered ${status}.` : text,
  );
}

/** The sentence of an error answer: `{"error": …}`, `{"message": …}` or plain text. */
async function errorText(response: Answer): Promise<string> {
  const text = (await response.text().catch(() => "")).slice(0, ERROR_SHOWN);
  try {
    const value = JSON.parse(text) as { error?: unknown; message?: unknown };
    const found = value.error ?? value.message;
    return typeof found === "string" ? found : text;
  } catch {
    return text.trim();
  }
}

async function warningsOf(response: Answer): Promise<string[]> {
  const text = await response.text();
  try {
    const value = JSON.parse(text) as { warnings?: unknown };
    return Array.isArray(value.warnings) ? value.warnings.map(String) : [];
  } catch {
    return [];
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** Reads a token file. Errors: not allowed, or none there. */
export async function readToken(file: string): Promise<string> {
  return (await readFile(file, "utf8")).trim();
}
