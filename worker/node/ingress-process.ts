/** The host's ingress as a child process. One that is started again gets the client ports that it had; those for replicas it remembers itself. */
import { fileURLToPath } from "node:url";
import type { IngressReport, IngressSpec } from "../../protocol/control.ts";
import type { Failed, FromIngress, IngressOptions, Start, ToIngress } from "../../protocol/local.ts";
import { spawnChild } from "../../protocol/node/parent.ts";
import type { Child, ChildEvents } from "../agent/platform.ts";
import { killGroup, onEnd } from "./child-end.ts";

export const INGRESS_PROGRAM = fileURLToPath(new URL("../../ingress/main.ts", import.meta.url));

/** After it said that it failed, the ingress has this long, ms, to end by itself. */
const FAILED_EXIT_MS = 500;

export class IngressStarter {
  readonly #start: { readonly program: string; readonly environment: NodeJS.ProcessEnv };
  readonly #options: Omit<IngressOptions, "spec">;
  /** Of the last report: what "any port" has become. */
  #last: IngressReport | null = null;

  constructor(
    options: Omit<IngressOptions, "spec">,
    start: { readonly program: string; readonly environment: NodeJS.ProcessEnv },
  ) {
    this.#options = options;
    this.#start = start;
  }

  start(spec: IngressSpec, events: ChildEvents<FromIngress>): Child<ToIngress> {
    const child = spawnChild(this.#start.program, { output: "inherit", env: this.#start.environment });
    child.on("message", (message: FromIngress | Failed | { readonly type: "ready" }) => {
      if (message.type === "failed") {
        events.onMessage({
          type: "report",
          report: {
            ingress: spec.ingress,
            state: "failed",
            error: message.message,
            urls: [],
            http: null,
            grpc: null,
            pid: child.pid ?? null,
          },
        });
        // It has said why; whatever keeps it is not worth waiting for.
        setTimeout(() => killGroup(child), FAILED_EXIT_MS).unref();
      } else if (message.type !== "ready") {
        if (message.type === "report" && message.report.state === "ready") this.#last = message.report;
        events.onMessage(message);
      }
    });
    onEnd(
      child,
      () => "",
      (how) => events.onExit(`The ingress ended: ${how}`),
    );
    const options: IngressOptions = { ...this.#options, spec: samePorts(spec, this.#last) };
    child.send({ type: "start", options } satisfies Start<IngressOptions>, () => {});
    return {
      pid: child.pid ?? null,
      tell: (message) =>
        void (
          child.connected &&
          child.send(
            message.type === "spec" ? { ...message, spec: samePorts(message.spec, this.#last) } : message,
            () => {},
          )
        ),
      kill: () => killGroup(child),
    };
  }
}

/** Port 0 (any) becomes the port that was taken the first time. */
function samePorts(spec: IngressSpec, last: IngressReport | null): IngressSpec {
  const http = spec.http?.port === 0 && last?.http != null ? { ...spec.http, port: last.http.port } : spec.http;
  const grpc = spec.grpc?.port === 0 && last?.grpc != null ? { ...spec.grpc, port: last.grpc.port } : spec.grpc;
  return { ...spec, http, grpc };
}
