import { deployment } from "skein";

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

class U {
  readonly #history: unknown[] = [];
  #v: unknown = null;
  #running = 0;
  reconfigure(config: { v?: number; boom?: boolean }) {
    if (config.boom) throw new Error("reconfigure failed on purpose");
    this.#v = config.v ?? null;
    this.#history.push(this.#v);
  }
  async fetch(request: Request) {
    const { searchParams } = new URL(request.url);
    if (searchParams.has("running")) return this.#running;
    const before = this.#v;
    this.#running += 1;
    await pause(Number(searchParams.get("s") ?? 0));
    // It is there when another configuration comes, however long that takes.
    const until = searchParams.get("until");
    while (until !== null && String(this.#v) !== until) await pause(0.02);
    this.#running -= 1;
    return {
      pid: process.pid,
      v_at_start: before,
      v_at_end: this.#v,
      history: this.#history,
      env: process.env["CT_ENV"] ?? null,
    };
  }
}
/** The same code under another export: another version. */
class U2 extends U {}
const options = {
  name: "U",
  rayActorOptions: { numCpus: 0 },
  userConfig: { v: 0 },
  gracefulShutdownTimeoutS: 5,
  gracefulShutdownWaitLoopS: 0.5,
};
export const app = deployment(U, options).bind();
export const app_copy = deployment(U2, options).bind();
