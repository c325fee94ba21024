import { deployment } from "skein";

const free = { rayActorOptions: { numCpus: 0 } };
const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const query = (request: Request): URLSearchParams => new URL(request.url).searchParams;

class Over {
  async fetch(request: Request) {
    await pause(Number(query(request).get("s") ?? 1));
    return query(request).get("id") ?? "";
  }
}
export const over = deployment(Over, { ...free, maxOngoingRequests: 1, maxQueuedRequests: 1 }).bind();

class Conc {
  #now = 0;
  #peak = 0;
  async fetch(request: Request) {
    if (query(request).has("peak")) return this.#peak;
    this.#now += 1;
    this.#peak = Math.max(this.#peak, this.#now);
    await pause(0.5);
    this.#now -= 1;
    return "ok";
  }
}
export const conc = deployment(Conc, free).bind();

class Health {
  #mode = "ok";
  #checks = 0;
  async checkHealth() {
    this.#checks += 1;
    if (this.#mode === "fail") throw new Error("check_health says no");
    if (this.#mode === "hang") await pause(1000);
  }
  fetch(request: Request) {
    const mode = query(request).get("mode");
    if (mode === "exit") process.exit(1);
    if (mode !== null) this.#mode = mode;
    return { pid: process.pid, mode: this.#mode, checks: this.#checks };
  }
}
export const health = deployment(Health, {
  ...free,
  healthCheckPeriodS: 1,
  healthCheckTimeoutS: 2,
  gracefulShutdownTimeoutS: 1,
  gracefulShutdownWaitLoopS: 0.2,
}).bind();
