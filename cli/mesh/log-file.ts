/**
 * The output of one program, in a file that stays bounded: when it is full it becomes `<name>.1` and a new one begins.
 * Written synchronously, so that the last words of a program that dies are there. A disk that is full costs log lines, never the mesh.
 */
import { appendFileSync, mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";

/** Bytes of one file; there are two. */
const FILE_MAX = 4 * 1024 * 1024;
/** Output of this life that is kept in memory for error messages, characters. */
const TAIL_MAX = 8_192;

export class LogFile {
  readonly #path: string;
  #size = 0;
  #tail = "";

  constructor(folder: string, name: string) {
    this.#path = join(folder, name);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      this.#size = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
    } catch {
      // The first write tries again and is dropped as well.
    }
  }

  write(bytes: Uint8Array): void {
    this.#tail = (this.#tail + Buffer.from(bytes).toString("utf8")).slice(-TAIL_MAX);
    try {
      if (this.#size + bytes.length > FILE_MAX) {
        renameSync(this.#path, `${this.#path}.1`);
        this.#size = 0;
      }
      appendFileSync(this.#path, bytes, { mode: 0o600 });
      this.#size += bytes.length;
    } catch {
      // See above.
    }
  }

  /** The last `characters` that were written by this life of the program. */
  tail(characters: number): string {
    return this.#tail.slice(-characters);
  }
}
