/**
 * One line per request, in Ray's form or as JSON. Lines gather in memory and go out in batches; when the sink is slow, lines are dropped
 * and counted rather than held: logging never blocks a request. Pure; the sink is an argument.
 */
import type { Finished } from "./http/context.ts";

/** Bytes that may wait for the sink. */
const WAITING_MAX = 1024 * 1024;
const START = 16 * 1024;
const ID_MAX = 200;
const encoder = new TextEncoder();

export type LogEncoding = "TEXT" | "JSON";

export function accessLine(request: Finished, time: string, encoding: LogEncoding): string {
  const id = request.requestId.slice(0, ID_MAX);
  if (encoding === "JSON") {
    const { method, route, app, deployment, status } = request;
    return `${JSON.stringify({ time, level: "INFO", request_id: id, method, route, status, latency_ms: Number(request.ms.toFixed(1)), application: app, deployment })}\n`;
  }
  return `INFO ${time} ingress ${request.app === "" ? "-" : request.app} ${id} -- ${request.method} ${request.route} ${request.status} ${request.ms.toFixed(1)}ms\n`;
}

export class AccessLog {
  encoding: LogEncoding = "TEXT";
  enabled = true;
  dropped = 0;
  /** Lines as bytes: as strings they would all outlive the young generation. One buffer fills while the other is written. */
  #filling = new Uint8Array(START);
  #spare = new Uint8Array(START);
  #length = 0;
  #writing = false;
  readonly #write: (lines: Uint8Array) => Promise<void>;

  /** `write` takes a batch and resolves when the next may come; the bytes are its own until then. */
  constructor(write: (lines: Uint8Array) => Promise<void>) {
    this.#write = write;
  }

  add(request: Finished, time: string): void {
    if (!this.enabled || !request.log) return;
    if (this.#length > WAITING_MAX) this.dropped += 1;
    else this.#append(accessLine(request, time, this.encoding));
  }

  /** Call several times a second, and at the end. */
  async flush(): Promise<void> {
    if (this.#writing || this.#length === 0) return;
    this.#writing = true;
    if (this.dropped > 0)
      this.#append(`WARNING ${this.dropped} access log lines were dropped: the disk was too slow.\n`);
    this.dropped = 0;
    const full = this.#filling;
    const batch = full.subarray(0, this.#length);
    this.#filling = this.#spare;
    this.#length = 0;
    await this.#write(batch).catch(() => {});
    this.#spare = full;
    this.#writing = false;
  }

  #append(line: string): void {
    const need = this.#length + line.length * 3;
    if (need > this.#filling.byteLength) {
      const grown = new Uint8Array(Math.max(need, this.#filling.byteLength * 2));
      grown.set(this.#filling.subarray(0, this.#length));
      this.#filling = grown;
    }
    this.#length += encoder.encodeInto(line, this.#filling.subarray(this.#length)).written;
  }
}
