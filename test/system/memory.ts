/** Memory of a mesh's processes, as the kernel counts it (resident; Linux only, as the system tests are). */
import { readFileSync } from "node:fs";
import type { SystemMesh } from "./mesh.ts";

export const MIB = 1024 * 1024;

/** Resident bytes of all processes of the mesh together. */
export function residentBytes(mesh: SystemMesh): number {
  let sum = 0;
  for (const pid of mesh.processes().keys()) sum += residentOf(pid);
  return sum;
}

export function residentOf(pid: number): number {
  try {
    return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Watches the sum while something runs: what counts is the highest, not what is left at the end. */
export class MemoryWatch {
  readonly #mesh: SystemMesh;
  #before: number;
  #highest: number;
  readonly #timer: NodeJS.Timeout;

  constructor(mesh: SystemMesh) {
    this.#mesh = mesh;
    this.#before = this.#highest = residentBytes(mesh);
    this.#timer = setInterval(() => this.#look(), 100);
  }

  /**
   * What came until now was warming up: growth is counted from the highest there was. An engine's heap takes some 100 MiB when it is first under
   * load, gives it back when it idles and takes it again: only peak against peak shows what stays.
   */
  warm(): void {
    this.#look();
    this.#before = this.#highest;
  }

  /** Stops watching; MiB by which the sum was ever above what it was at first (or when it was warm). */
  stop(): number {
    clearInterval(this.#timer);
    this.#look();
    return (this.#highest - this.#before) / MIB;
  }

  #look(): void {
    this.#highest = Math.max(this.#highest, residentBytes(this.#mesh));
  }
}
