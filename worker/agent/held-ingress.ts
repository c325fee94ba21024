/** The host's ingress as its parent sees it: running, draining, or crashed and waiting for its next start. */
import type { IngressReport, IngressSpec } from "../../protocol/control.ts";
import type { FromIngress, ToIngress } from "../../protocol/local.ts";
import { INGRESS_CALM_MS, INGRESS_RETRY_BASE_MS, INGRESS_RETRY_CAP_MS, STOP_GRACE_MS } from "./limits.ts";
import type { AgentPlatform, Child } from "./platform.ts";
import type { HeldIngress } from "./reconcile.ts";

export class IngressOfHost implements HeldIngress {
  spec: IngressSpec;
  phase: HeldIngress["phase"] = "live";
  killAt: number | null = null;
  retryAt: number | null = null;
  readonly #platform: AgentPlatform;
  readonly #changed: () => void;
  #child: Child<ToIngress> | null = null;
  #report: IngressReport;
  #startedAt = 0;
  /** Crashes without a calm time between them. */
  #crashes = 0;

  constructor(spec: IngressSpec, platform: AgentPlatform, changed: () => void) {
    this.spec = spec;
    this.#platform = platform;
    this.#changed = changed;
    this.#report = this.#starting();
    this.start(spec);
  }

  /** Also: again, after a crash. */
  start(spec: IngressSpec): void {
    this.spec = spec;
    this.phase = "live";
    this.retryAt = null;
    this.#startedAt = this.#platform.now();
    if (this.#platform.startIngress === null) {
      this.#report = {
        ...this.#starting(),
        state: "failed",
        error: "This worker can only dial out: it was started without a mesh listener for an ingress.",
      };
      this.#changed();
      return;
    }
    this.#report = this.#starting();
    this.#child = this.#platform.startIngress(spec, {
      onMessage: (message) => this.#heard(message),
      onExit: (how) => this.#exited(how),
    });
    this.#changed();
  }

  alter(spec: IngressSpec): void {
    this.spec = spec;
    this.#child?.tell({ type: "spec", spec });
  }

  stop(drainMs: number): void {
    if (this.#child === null) {
      this.#gone();
      return;
    }
    this.phase = "stopping";
    this.killAt = this.#platform.now() + drainMs + STOP_GRACE_MS;
    this.#child.tell({ type: "stop", drainMs });
  }

  kill(): void {
    this.#child?.kill();
  }

  report(): IngressReport {
    return this.#report;
  }

  #starting(): IngressReport {
    return { ingress: this.spec.ingress, state: "starting", urls: [], http: null, grpc: null, pid: null };
  }

  #heard(message: FromIngress): void {
    if (message.type !== "report") return;
    this.#report = { ...message.report, pid: message.report.pid ?? this.#child?.pid ?? null };
    this.#changed();
  }

  #exited(how: string): void {
    this.#child = null;
    if (this.phase === "stopping") {
      this.#gone();
      return;
    }
    const now = this.#platform.now();
    if (now - this.#startedAt >= INGRESS_CALM_MS) this.#crashes = 0;
    this.phase = "crashed";
    this.retryAt =
      now +
      (this.#crashes === 0 ? 0 : Math.min(INGRESS_RETRY_CAP_MS, INGRESS_RETRY_BASE_MS * 2 ** (this.#crashes - 1)));
    this.#crashes = Math.min(this.#crashes + 1, 10);
    // It had said why, if it ended because it could not listen.
    this.#report = { ...this.#report, state: "failed", error: this.#report.error ?? how, pid: null };
    this.#changed();
  }

  #gone(): void {
    this.phase = "gone";
    this.killAt = null;
    this.#changed();
  }
}
