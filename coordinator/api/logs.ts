/**
 * Readers of replica logs. A log never travels on a control link: the worker is asked to open a stream of its own to the mesh port,
 * and what it sends goes on to the reader, line by line, with back-pressure from one to the other.
 */
import { randomUUID } from "node:crypto";
import { SkeinError } from "../../protocol/errors.ts";
import type { Loop } from "../loop.ts";
import type { After } from "../service.ts";
import { replicasOf } from "../state.ts";

/** What a reader gets of the past, bytes of each replica. */
const TAIL_BYTES = 1024 * 1024;
/** A worker that doesn't come with its log within this, ms, is left out. */
const COME_WITHIN_MS = 5_000;
const READERS_MAX = 256;
/** A line without an end is cut here, characters. */
const LINE_MAX = 64 * 1024;

/** The socket on which a worker sends a log. */
export interface LogSource {
  pause(): void;
  resume(): void;
  close(): void;
}

interface Pending {
  readonly worker: string;
  arrive(source: LogSource): LogSink;
}
export interface LogSink {
  data(bytes: Uint8Array): void;
  end(): void;
}

export type AskForLog = (
  worker: string,
  message: { type: "logs"; replica: string; reader: string; follow: boolean; tailBytes: number },
) => boolean;

export class LogReaders {
  readonly #loop: Loop;
  readonly #ask: AskForLog;
  readonly #after: After;
  readonly #pending = new Map<string, Pending>();
  #open = 0;

  constructor(loop: Loop, ask: AskForLog, after: After) {
    this.#loop = loop;
    this.#ask = ask;
    this.#after = after;
  }

  /** A worker has opened `/logs/<reader>`. Null when nobody waits for it, or for another worker's. */
  arrive(reader: string, worker: string, source: LogSource): LogSink | null {
    const pending = this.#pending.get(reader);
    if (pending === undefined || pending.worker !== worker) return null;
    this.#pending.delete(reader);
    return pending.arrive(source);
  }

  /** @throws NOT_FOUND when there is no such application or deployment */
  open(app: string, deployment: string | null, follow: boolean, gone: AbortSignal): ReadableStream<Uint8Array> {
    const target = this.#loop.state.desired.apps[app]?.target;
    if (target == null) throw new SkeinError("NOT_FOUND", `Application "${app}" does not exist or was never built.`);
    const names = Object.keys(target.deployments).filter((name) => deployment === null || name === deployment);
    if (names.length === 0)
      throw new SkeinError("NOT_FOUND", `Deployment "${deployment ?? ""}" does not exist in application "${app}".`);
    if (this.#open >= READERS_MAX)
      throw new SkeinError("UNAVAILABLE", `${READERS_MAX} log readers are connected. Close some.`);
    const replicas = names.flatMap((name) => replicasOf(this.#loop.state, app, name)).filter((r) => r.worker !== null);
    const ids: string[] = [];
    const sources = new Set<LogSource>();
    let left = replicas.length;
    let closed = false;
    this.#open += 1;
    const finish = (): void => {
      if (closed) return;
      closed = true;
      this.#open -= 1;
      for (const id of ids) this.#pending.delete(id);
      for (const source of sources) source.close();
    };
    gone.addEventListener("abort", finish, { once: true });
    const encoder = new TextEncoder();
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        const oneLess = (): void => {
          left -= 1;
          if (left > 0 || closed) return;
          finish();
          controller.close();
        };
        if (left === 0) {
          finish();
          controller.close();
        }
        for (const replica of replicas) {
          const reader = randomUUID();
          ids.push(reader);
          const prefix = replicas.length === 1 ? "" : `${replica.deployment}#${replica.id.split("#")[2] ?? ""} `;
          this.#pending.set(reader, {
            worker: replica.worker ?? "",
            arrive: (source) => {
              sources.add(source);
              const decoder = new TextDecoder();
              let rest = "";
              const push = (text: string): void => {
                if (closed || text === "") return;
                controller.enqueue(encoder.encode(text));
                if ((controller.desiredSize ?? 1) <= 0) for (const s of sources) s.pause();
              };
              return {
                data: (bytes) => {
                  const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
                  rest = (lines.pop() ?? "").slice(-LINE_MAX);
                  push(lines.map((line) => `${prefix}${line}\n`).join(""));
                },
                end: () => {
                  if (rest !== "") push(`${prefix}${rest}\n`);
                  sources.delete(source);
                  oneLess();
                },
              };
            },
          });
          const asked = this.#ask(replica.worker ?? "", {
            type: "logs",
            replica: replica.id,
            reader,
            follow,
            tailBytes: TAIL_BYTES,
          });
          const never = (): void => {
            if (this.#pending.delete(reader)) oneLess();
          };
          if (asked) this.#after(COME_WITHIN_MS, never);
          else queueMicrotask(never);
        }
      },
      pull: () => {
        for (const source of sources) source.resume();
      },
      cancel: finish,
    });
  }
}
