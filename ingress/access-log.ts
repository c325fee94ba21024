/**
 * One line per request, in Ray's form or as JSON. Lines gather in memory and go out in batches; when the sink is slow, lines are dropped
 * and counted rather than held: logging never blocks a request. Pure; the sink is an argument.
 */
import type { Finished } from "./http/context.ts";

/** Characters that may wait for the sink. */
const WAITING_MAX = 1024 * 1024;
const ID_MAX = 200;

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
  #lines = "";
  #writing = false;
  readonly #write: (text: string) => Promise<void>;

  /** `write` takes a batch and resolves when the next may come. */
  constructor(write: (text: string) => Promise<void>) {
    this.#write = write;
  }

  add(request: Finished, time: string): void {
    if (!this.enabled || !request.log) return;
    if (this.#lines.length > WAITING_MAX) {
      this.dropped += 1;
      return;
    }
    this.#lines += accessLine(request, time, this.encoding);
  }

  /** Call several times a second, and at the end. */
  async flush(): Promise<void> {
    if (this.#writing || this.#lines === "") return;
    this.#writing = true;
    const batch =
      this.dropped > 0
        ? `${this.#lines}WARNING ${this.dropped} access log lines were dropped: the disk was too slow.\n`
        : this.#lines;
    this.#lines = "";
    this.dropped = 0;
    await this.#write(batch).catch(() => {});
    this.#writing = false;
  }
}
