/**
 * 32 clients of one kind against an ingress, and what became of each request. Every answer is compared with what was asked for,
 * so that a lost, doubled, mixed-up or cut one is seen. Connections that are refused or break while the ingress itself is away count apart.
 */
import { createHash } from "node:crypto";
import { Agent, request } from "node:http";

export const ACTIVITIES = ["idle", "unary", "stream", "upload"] as const;
export type Activity = (typeof ACTIVITIES)[number];

const CLIENTS = 32;
const ANSWER_WITHIN_MS = 20_000;
const STREAM_LINES = 30;
const UPLOAD_BYTES = 512 * 1024;
const BODY = "x".repeat(UPLOAD_BYTES);

export interface Outcome {
  readonly id: string;
  readonly method: string;
  readonly startedAt: number;
  readonly ms: number;
  /** What is wrong with it; null: answered, once, with what was asked for. */
  readonly wrong: string | null;
  /** The connection was refused or broke before a whole answer. */
  readonly broken: boolean;
  readonly replica: string | null;
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
    this.#clients = activity === "idle" ? [] : Array.from({ length: CLIENTS }, (_, i) => this.#client(activity, i));
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#clients);
    this.#agent.destroy();
  }

  async #client(activity: Activity, index: number): Promise<void> {
    while (this.#running) {
      const outcome = await ask(this.#base, activity, index % 2 === 0, this.#agent);
      this.outcomes.push(outcome);
      // Unary clients are quick: some rest leaves the machine to the mesh.
      await new Promise((resolve) => setTimeout(resolve, outcome.broken ? 50 : 20));
    }
  }
}

/** One request. Unary: GET or POST with a key, in turn; uploads have a key; streams are GET. */
export function ask(base: string, activity: Activity, get: boolean, agent: Agent | false = false): Promise<Outcome> {
  const id = `c${(ids += 1)}`;
  const plain = activity === "idle" || (activity === "unary" && get);
  const streams = activity === "stream";
  const method = plain || streams ? "GET" : "POST";
  const path = plain ? `/?id=${id}` : streams ? `/stream?n=${STREAM_LINES}&ms=10` : `/keyed?id=${id}&ms=10`;
  const body = method === "GET" ? "" : activity === "upload" ? BODY : `body of ${id}`;
  const startedAt = Date.now();
  return new Promise((resolve) => {
    let done = false;
    const finish = (wrong: string | null, broken: boolean, replica: string | null = null): void => {
      if (!done) resolve({ id, method, startedAt, ms: Date.now() - startedAt, wrong, broken, replica });
      done = true;
    };
    const headers =
      method === "GET" ? {} : { "idempotency-key": id, "content-length": String(Buffer.byteLength(body)) };
    const outgoing = request(
      new URL(path, base),
      { method, headers, agent, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) },
      (incoming) => {
        let text = "";
        incoming.setEncoding("utf8").on("data", (piece: string) => (text += piece));
        incoming.on("error", (error) => finish(`cut: ${error.message}`, true));
        incoming.on("end", () => {
          if (incoming.statusCode !== 200) return finish(`${incoming.statusCode}: ${text.slice(0, 100)}`, false);
          if (streams) return finish(text === LINES ? null : "lines are missing", false);
          const answer = JSON.parse(text) as { id: string; sha256?: string; replica: string };
          finish(
            answer.id !== id
              ? `answered with ${answer.id}`
              : method === "POST" && answer.sha256 !== createHash("sha256").update(body).digest("hex")
                ? "its body was changed"
                : null,
            false,
            answer.replica,
          );
        });
      },
    );
    outgoing.on("error", (error: NodeJS.ErrnoException) =>
      finish(
        error.name === "TimeoutError" || error.name === "AbortError"
          ? "no answer in time"
          : (error.code ?? error.message),
        error.name !== "AbortError",
      ),
    );
    outgoing.end(body);
  });
}

const LINES = Array.from({ length: STREAM_LINES }, (_, i) => `${i}\n`).join("");
