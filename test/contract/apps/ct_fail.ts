import { deployment, type Application } from "skein";

const free = { rayActorOptions: { numCpus: 0 } };

class Ok {
  fetch() {
    return "ok";
  }
}
class FailCtor {
  constructor() {
    throw new Error("model file is corrupt");
  }
  fetch() {
    return "never";
  }
}
class BadReconf {
  #config: { bad?: boolean } = {};
  reconfigure(config: { bad?: boolean }) {
    if (config.bad) throw new Error("bad user_config");
    this.#config = config;
  }
  fetch() {
    return this.#config;
  }
}
class SickFromStart {
  checkHealth() {
    throw new Error("sick");
  }
  fetch() {
    return "ok";
  }
}

export const NotBound = deployment(Ok, { ...free, name: "NotBound" });
export class PlainClass {}
export const plain = 5;

export const ok: Application = deployment(Ok, free).bind();
export const builder = (_args: object): Application => ok;
export const builder_two = (_a: unknown, _b: unknown): Application => ok;
export const builder_wrong_return = (_args: object): unknown => "not an app";
export const builder_raises = (_args: object): Application => {
  throw new Error("missing arg");
};

export const fail_ctor = deployment(FailCtor, free).bind();
export const bad_reconf = deployment(BadReconf, free).bind();
export const sick = deployment(SickFromStart, { ...free, healthCheckPeriodS: 1, healthCheckTimeoutS: 1 }).bind();
export const gpu = deployment(Ok, { name: "NeedsGpu", rayActorOptions: { numCpus: 0, numGpus: 1 } }).bind();
