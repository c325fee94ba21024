/** A log file of bounded size: when it is half of the bound it becomes `<name>.1`, and a new one begins. */
import { appendFile, mkdir, rename, stat } from "node:fs/promises";
import path from "node:path";
import { REPLICA_LOG_MAX } from "../protocol/limits.ts";

export class LogFile {
  readonly #file: string;
  #size: number | null = null;

  constructor(file: string) {
    this.#file = file;
  }

  async write(lines: Uint8Array): Promise<void> {
    if (this.#size === null) {
      await mkdir(path.dirname(this.#file), { recursive: true });
      this.#size = (await stat(this.#file).catch(() => null))?.size ?? 0;
    }
    await appendFile(this.#file, lines);
    this.#size += lines.byteLength;
    if (this.#size < REPLICA_LOG_MAX / 2) return;
    await rename(this.#file, `${this.#file}.1`);
    this.#size = 0;
  }
}
