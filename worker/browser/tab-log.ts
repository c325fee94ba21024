/** Logs of a tab's replicas: what they print to the console, kept in memory within a bound, and sent to readers at the coordinator. */
import { MESSAGE_MAX } from "../../protocol/limits.ts";
import type { LogRequest } from "../agent/platform.ts";
import { TAB_LOG_MAX, TAB_LOGS_MAX, TAB_READER_LAG_MAX } from "./limits.ts";

class TabLog {
  readonly #lines: string[] = [];
  readonly #readers = new Set<{ text(text: string): void; end(): void }>();
  #size = 0;
  ended = false;

  add(line: string): void {
    this.#lines.push(line);
    this.#size += line.length;
    while (this.#size > TAB_LOG_MAX) this.#size -= this.#lines.shift()!.length;
    for (const reader of this.#readers) reader.text(line);
  }

  end(): void {
    this.ended = true;
    for (const reader of this.#readers) reader.end();
    this.#readers.clear();
  }

  /** Whole lines that make up at most `characters`, the newest ones. */
  tail(characters: number): string {
    let from = this.#lines.length;
    let size = 0;
    while (from > 0) {
      size += this.#lines[from - 1]!.length;
      if (size > characters) break;
      from -= 1;
    }
    return this.#lines.slice(from).join("");
  }

  follow(reader: { text(text: string): void; end(): void }): () => void {
    this.#readers.add(reader);
    return () => void this.#readers.delete(reader);
  }
}

export class TabLogs {
  readonly #now: () => number;
  readonly #logs = new Map<string, TabLog>();

  constructor(now: () => number) {
    this.#now = now;
  }

  line(replica: string, stream: string, text: string): void {
    const head = `${new Date(this.#now()).toISOString()} ${stream} `;
    for (const part of text.slice(0, MESSAGE_MAX).split("\n")) this.#of(replica).add(`${head}${part}\n`);
  }

  end(replica: string): void {
    this.#of(replica).end();
  }

  /** `url`: of the reader at the mesh port. A browser can't set headers: the ticket goes as a subprotocol, beside the one that is agreed on. */
  send(url: string, ticket: string, request: LogRequest): void {
    const socket = new WebSocket(url, ["skein.logs", ticket]);
    const log = this.#logs.get(request.replica);
    const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
    socket.onopen = () => {
      const tail = log?.tail(request.tailBytes) ?? "";
      if (tail !== "") socket.send(encode(tail));
      if (log === undefined || log.ended || !request.follow) return socket.close(1000);
      let skipped = 0;
      const stop = log.follow({
        text: (text) => {
          if (socket.bufferedAmount > TAB_READER_LAG_MAX) {
            skipped += 1;
            return;
          }
          const note = skipped > 0 ? `... ${skipped} lines were left out: this reader is too slow.\n` : "";
          skipped = 0;
          socket.send(encode(note + text));
        },
        end: () => socket.close(1000),
      });
      socket.onclose = stop;
    };
  }

  #of(replica: string): TabLog {
    let log = this.#logs.get(replica);
    if (log === undefined) {
      log = new TabLog();
      this.#logs.set(replica, log);
      const old = [...this.#logs].find(([, other]) => other.ended);
      if (this.#logs.size > TAB_LOGS_MAX && old !== undefined) this.#logs.delete(old[0]);
    }
    return log;
  }
}
