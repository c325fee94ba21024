/**
 * Who this worker is, kept over restarts: a folder of its own below the data directory, taken by a lock that the system lets go of when
 * the process dies. A restarted agent is the same worker with a higher incarnation, so the mesh knows at once what it lost.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SkeinError } from "../../protocol/errors.ts";
import { WORKERS_PER_DIRECTORY_MAX } from "./limits.ts";

interface Stored {
  readonly schema: 1;
  readonly workerId: string;
  readonly incarnation: number;
  /** Of the mesh with this URL only. */
  readonly mesh: string;
  readonly ticket: string | null;
}

export interface WorkerHome {
  readonly folder: string;
  readonly workerId: string;
  readonly incarnation: number;
  readonly ticket: string | null;
  keepTicket(ticket: string): void;
}

/** Takes the first folder that no other agent holds. `time`: ms since 1970. Held until the process ends. */
export function takeHome(dataDir: string, mesh: string, time: number): WorkerHome {
  for (let slot = 0; slot < WORKERS_PER_DIRECTORY_MAX; slot += 1) {
    const folder = join(dataDir, "workers", String(slot));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!lock(join(folder, "lock"))) continue;
    const file = join(folder, "identity.json");
    const before = read(file);
    let stored: Stored = {
      schema: 1,
      workerId: before?.workerId ?? `worker-${randomUUID()}`,
      incarnation: Math.max(time, (before?.incarnation ?? 0) + 1),
      mesh,
      ticket: before?.mesh === mesh ? before.ticket : null,
    };
    write(file, stored);
    return {
      folder,
      workerId: stored.workerId,
      incarnation: stored.incarnation,
      ticket: stored.ticket,
      keepTicket(ticket) {
        if (ticket === stored.ticket) return;
        stored = { ...stored, ticket };
        write(file, stored);
      },
    };
  }
  throw new SkeinError(
    "CONFLICT",
    `${WORKERS_PER_DIRECTORY_MAX} workers use ${dataDir} already; give this one a data directory of its own (SKEIN_DATA_DIR).`,
  );
}

/** One id per data directory: workers of one host share an ingress. */
export function hostIdOf(dataDir: string): string {
  const file = join(dataDir, "host-id");
  if (!existsSync(file)) {
    mkdirSync(dataDir, { recursive: true });
    try {
      writeFileSync(file, `host-${randomUUID()}\n`, { flag: "wx" });
    } catch (thrown) {
      // Another worker of this host was quicker.
      if (!existsSync(file)) throw thrown;
    }
  }
  return readFileSync(file, "utf8").trim();
}

/** Kept open, and so locked, for the life of the process. */
const locks: DatabaseSync[] = [];

function lock(path: string): boolean {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
    locks.push(database);
    return true;
  } catch {
    database.close();
    return false;
  }
}

function read(file: string): Stored | null {
  try {
    const stored = JSON.parse(readFileSync(file, "utf8")) as Partial<Stored>;
    const whole =
      stored.schema === 1 &&
      typeof stored.workerId === "string" &&
      typeof stored.incarnation === "number" &&
      typeof stored.mesh === "string";
    return whole ? { ...(stored as Stored), ticket: typeof stored.ticket === "string" ? stored.ticket : null } : null;
  } catch {
    return null;
  }
}

/** Whole or not at all, readable for its owner only: the ticket is a credential. */
function write(file: string, stored: Stored): void {
  const partial = `${file}.partial`;
  writeFileSync(partial, JSON.stringify(stored), { mode: 0o600 });
  chmodSync(partial, 0o600);
  renameSync(partial, file);
}
