/**
 * What an ingress must remember to start alone: the last routing table with the coordinator's keys, and its ports.
 * One file per ingress id under the data directory, written whole and atomically; a broken or foreign file is as good as none.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import * as z from "zod";
import { routingTableSchema } from "../protocol/routes.ts";

const schema = z.strictObject({
  schema: z.literal(1),
  ingress: z.string(),
  /** Ports that were bound, to be tried again where "any" is asked for. */
  ports: z.strictObject({ mesh: z.number(), inner: z.number().nullable() }),
  httpPort: z.number().nullable(),
  /** Coordinator's clock minus ours, ms. */
  clockOffsetMs: z.number(),
  table: routingTableSchema.nullable(),
});
export type Remembered = z.output<typeof schema>;

export class TableFile {
  readonly #file: string;
  #writing: Promise<void> = Promise.resolve();
  #next: Remembered | null = null;

  constructor(dataDir: string, ingress: string) {
    // The id is hashed: ids never become paths.
    this.#file = path.join(
      dataDir,
      "ingress",
      `${createHash("sha256").update(ingress).digest("hex").slice(0, 16)}.json`,
    );
  }

  async read(ingress: string): Promise<Remembered | null> {
    try {
      const remembered = schema.parse(JSON.parse(await readFile(this.#file, "utf8")));
      return remembered.ingress === ingress ? remembered : null;
    } catch {
      return null;
    }
  }

  /** Writes the newest state; states that came while one was being written are skipped. Rejects when the disk doesn't take it. */
  write(state: Remembered): Promise<void> {
    const waiting = this.#next !== null;
    this.#next = state;
    if (!waiting)
      this.#writing = this.#writing
        .catch(() => {})
        .then(async () => {
          const text = JSON.stringify(this.#next);
          this.#next = null;
          await mkdir(path.dirname(this.#file), { recursive: true });
          await writeFile(`${this.#file}.new`, text, { mode: 0o600, flush: true });
          await rename(`${this.#file}.new`, this.#file);
        });
    return this.#writing;
  }

  /** Resolves when nothing is being written. */
  settled(): Promise<void> {
    return this.#writing.catch(() => {});
  }
}
