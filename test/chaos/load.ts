/**
 * 32 clients of one kind against an ingress, and what became of each request. Every answer is compared with what was asked for,
 * so that a lost, doubled, mixed-up or cut one is seen.
 */
import { createHash } from "node:crypto";
import { Agent, request } from "node:http";

export const ACTIVITIES = ["idle", "unary", "stream", "upload"] as const;
export type Activity = (typeof ACTIVITIES)[number];

/** keyed: POST with an Idempotency-Key. stream: GET of a long answer. */
export type Kind = "get" | "keyed" | "post" | "stream";

const CLIENTS = 32;
const ANSWER_WITHIN_MS = 20_000;
const STREAM_LINES = 30;
const BODY = "x".repeat(512 * 1024);
/** What the clients of an activity ask for, in turn. */
const KINDS: Readonly<Record<Activity, readonly Kind[]>> = {
  idle: [],
  unary: ["get", "keyed", "post"],
  stream: ["stream"],
  upload: ["keyed", "keyed", "post"],
};

export interface Outcome {
  readonly id: string;
  readonly kind: Kind;
  /** ms since 1970. */
  readonly startedAt: number;
  readonly ms: number;
  /** What is wrong with it; null: answered, once, with what was asked for. */
  readonly wrong: string | null;
  readonly status: number | null;
  /** The connection was refused or broke before a whole answer. */
  readonly broken: boolean;
  /** It broke in the middle of the answer. */
  readonly cut: boolean;
}

let ids = 0;

export class Load {
  readonly outcomes: Outcome[] = [];
  readonly #base: string;
  readonly #agent = new Agent({ keepAlive: true });
  #running = true;
  readonly #clients: Promise<void>[];

  constructor(base: string, activity: Activity) {
    this.#base = base;
    const kinds = KINDS[activity];
    const body = activity === "upload" ? BODY : null;
    this.#clients =
      kinds.length === 0 ? [] : Array.from({ length: CLIENTS }, (_, i) => this.#client(kinds[i % kinds.length]!, body));
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#clients);
    this.#agent.destroy();
  }

  async #client(kind: Kind, body: string | null): Promise<void> {
    while (this.#running) {
      const outcome = await ask(this.#base, kind, body, this.#agent);
      this.outcomes.push(outcome);
      // Unary clients are quick: some rest leaves the machine to the mesh.
      await new Promise((resolve) => setTimeout(resolve, outcome.broken ? 50 : 20));
    }
  }
}

/** One request. `large`: its body; null: a short one of its own. */
export function ask(
  base: string,
  kind: Kind,
  large: string | null = null,
  agent: Agent | false = false,
): Promise<Outcome> {
  const id = `c${(ids += 1)}`;
  const posts = kind === "post" || kind === "keyed";
  const path = kind === "stream" ? `/stream?id=${id}&n=${STREAM_LINES}&ms=10` : `/?id=${id}${posts ? "&ms=10" : ""}`;
  const body = posts ? (large ?? `body of ${id}`) : "";
  const headers = {
    ...(posts ? { "content-length": String(Buffer.byteLength(body)) } : {}),
    ...(kind === "keyed" ? { "idempotency-key": id } : {}),
  };
  const startedAt = Date.now();
  return new Promise((resolve) => {
    let status: number | null = null;
    let done = false;
    const finish = (wrong: string | null, broken = false): void => {
      if (done) return;
      done = true;
      const cut = broken && status !== null;
      resolve({ id, kind, startedAt, ms: Date.now() - startedAt, wrong, status, broken, cut });
    };
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const failed = (error: NodeJS.ErrnoException): void =>
      signal.aborted ? finish("no answer in time") : finish(error.code ?? error.message, true);
    const outgoing = request(
      new URL(path, base),
      { method: posts ? "POST" : "GET", headers, agent, signal },
      (incoming) => {
        status = incoming.statusCode ?? 0;
        let text = "";
        incoming.setEncoding("utf8").on("data", (piece: string) => (text += piece));
        incoming.on("error", failed);
        incoming.on("end", () =>
          finish(status === 200 ? mismatch(kind, id, body, text) : `${status}: ${text.slice(0, 100)}`),
        );
      },
    );
    outgoing.on("error", failed);
    outgoing.end(body);
  });
}

/** Null: it is the answer to this request, whole. */
function mismatch(kind: Kind, id: string, body: string, text: string): string | null {
  if (kind === "stream")
    return text === Array.from({ length: STREAM_LINES }, (_, i) => `${id} ${i}\n`).join("")
      ? null
      : "lines are missing, or another's";
  const answer = JSON.parse(text) as { id: string; sha256: string };
  if (answer.id !== id) return `answered with ${answer.id}`;
  return answer.sha256 === createHash("sha256").update(body).digest("hex") ? null : "its body was changed";
}
