/**
 * The log of one replica on its host: bounded, in two files of half the bound each, so that the newest half is always whole.
 * Each line has its time and its stream. What comes faster than the bound allows is dropped and counted, never kept in memory.
 */
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, readSync, renameSync, statSync } from "node:fs";
import { MESSAGE_MAX, REPLICA_LOG_MAX } from "../../protocol/limits.ts";
import { LOG_LINE_MAX, LOG_PENDING_MAX } from "./limits.ts";

export interface LogClock {
  /** ms since 1970. */
  time(): number;
  /** Calls back once, soon (LOG_FLUSH_MS). */
  soon(callback: () => void): void;
}

/** Name of the older half beside `path`. */
export const olderHalf = (path: string): string => `${path}.1`;

export class ReplicaLog {
  readonly path: string;
  readonly #clock: LogClock;
  readonly #max: number;
  #size: number;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #scheduled = false;
  /** The unfinished line of each stream. */
  readonly #partial = new Map<string, string>();
  readonly #followers = new Set<(text: string) => void>();
  readonly #onEnd: (() => void)[] = [];

  constructor(path: string, clock: LogClock, max = REPLICA_LOG_MAX) {
    this.path = path;
    this.#clock = clock;
    this.#max = max;
    this.#size = existsSync(path) ? statSync(path).size : 0;
  }

  /** Output as it comes, in pieces that know nothing of lines. */
  write(stream: string, text: string): void {
    const lines = ((this.#partial.get(stream) ?? "") + text).split("\n");
    let rest = lines.pop() ?? "";
    while (rest.length > LOG_LINE_MAX) {
      lines.push(rest.slice(0, LOG_LINE_MAX));
      rest = rest.slice(LOG_LINE_MAX);
    }
    this.#partial.set(stream, rest);
    for (const line of lines) this.line(stream, line);
  }

  /** One whole line (or several, each with its own head). */
  line(stream: string, text: string): void {
    const head = `${new Date(this.#clock.time()).toISOString()} ${stream} `;
    for (const part of text.slice(0, MESSAGE_MAX).split("\n")) this.#add(`${head}${part.replace(/\r$/, "")}\n`);
  }

  /** What is still held back goes to the disk. */
  flush(): void {
    if (this.#dropped > 0) {
      this.#pending.push(
        `${new Date(this.#clock.time()).toISOString()} skein ${this.#dropped} lines were dropped here: they came faster than the log takes them.\n`,
      );
      this.#dropped = 0;
    }
    const text = this.#pending.join("");
    this.#pending = [];
    this.#pendingBytes = 0;
    if (text === "") return;
    try {
      if (this.#size + text.length > this.#max / 2 && this.#size > 0) {
        renameSync(this.path, olderHalf(this.path));
        this.#size = 0;
      }
      appendFileSync(this.path, text, { mode: 0o600 });
      this.#size += Buffer.byteLength(text);
    } catch {
      // A full disk must not end the replica, nor the agent: readers that follow still get the lines.
    }
    for (const follower of this.#followers) follower(text);
  }

  /** The unfinished lines too: nothing more comes. */
  end(): void {
    for (const [stream, rest] of this.#partial) if (rest !== "") this.line(stream, rest);
    this.#partial.clear();
    this.flush();
    for (const ended of this.#onEnd.splice(0)) ended();
  }

  /** Called when the replica has ended. */
  onEnd(ended: () => void): void {
    this.#onEnd.push(ended);
  }

  /** What there is (its last `tailBytes`), and from there on what comes, without gap or repetition. Returns how to stop. */
  follow(tailBytes: number, onText: (text: string) => void): { readonly tail: Buffer; readonly stop: () => void } {
    this.flush();
    const tail = readTail(this.path, tailBytes);
    this.#followers.add(onText);
    return { tail, stop: () => void this.#followers.delete(onText) };
  }

  #add(line: string): void {
    if (this.#pendingBytes + line.length > LOG_PENDING_MAX) {
      this.#dropped += 1;
      return;
    }
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.soon(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}

/** The last `bytes` of both halves together, from the start of a line on. Empty when there is no log. */
export function readTail(path: string, bytes: number): Buffer {
  const wanted = Math.min(Math.max(bytes, 0), REPLICA_LOG_MAX);
  const newer = endOf(path, wanted);
  const older = wanted > newer.byteLength ? endOf(olderHalf(path), wanted - newer.byteLength) : Buffer.alloc(0);
  const both = Buffer.concat([older, newer]);
  const whole = totalSize(path) <= both.byteLength;
  return whole ? both : both.subarray(both.indexOf(0x0a) + 1);
}

function endOf(path: string, bytes: number): Buffer {
  if (!existsSync(path)) return Buffer.alloc(0);
  const { size } = statSync(path);
  if (size <= bytes) return readFileSync(path);
  const file = openSync(path, "r");
  try {
    const end = Buffer.alloc(bytes);
    return end.subarray(0, readSync(file, end, 0, bytes, size - bytes));
  } finally {
    closeSync(file);
  }
}

const totalSize = (path: string): number =>
  [path, olderHalf(path)].reduce((sum, file) => sum + (existsSync(file) ? statSync(file).size : 0), 0);
