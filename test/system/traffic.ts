/** Requests one after the other while a test does its worst to the mesh, and what became of them. */
import type { Answer, SystemMesh } from "./mesh.ts";

export class Traffic {
  readonly answers: Answer[] = [];
  /** The connection itself was refused or broke: the ingress was away. */
  readonly broken: Error[] = [];
  #running = true;
  readonly #done: Promise<void>;

  /** `base`: of the ingress; fixed, so that asking the coordinator is never part of it. */
  constructor(mesh: SystemMesh, base: string, path = "/") {
    this.#done = this.#run(mesh, base, path);
  }

  get count(): number {
    return this.answers.length;
  }
  get failed(): Answer[] {
    return this.answers.filter((answer) => answer.status !== 200);
  }

  async stop(): Promise<this> {
    this.#running = false;
    await this.#done;
    return this;
  }

  async #run(mesh: SystemMesh, base: string, path: string): Promise<void> {
    while (this.#running) {
      await mesh.fetch(path, { base }).then(
        (answer) => this.answers.push(answer),
        (error: Error) => this.broken.push(error),
      );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
