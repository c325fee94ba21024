/** The host's ingress as its parent sees it: running, draining, or crashed and waiting for its next start. */
import type { IngressReport, IngressSpec } from "../../protocol/control.ts";
import type { FromIngress, ToIngress } from "../../protocol/local.ts";
import {
  INGRESS_CALM_MS,
  INGRESS_RETRY_BASE_MS,
  INGRESS_RETRY_CAP_MS,
  INGRESS_RETRY_SERVED_CAP_MS,
  SILENT_TICKS_KILL_INGRESS,
  SILENT_TICKS_KILL_STARTING,
  STOP_GRACE_MS,
  TICK_MS,
} from "./limits.ts";
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
  /** This life has given a sign of it. */
  #heardOf = false;
  /** This life has been ready. */
  #served = false;
  #silentTicks = 0;
  /** Why we ended it, where we did. */
  #verdict: string | null = null;
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
    this.#heardOf = this.#served = false;
    this.#silentTicks = 0;
    this.#verdict = null;
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

  /** Call every TICK_MS: one that hangs is ended, and starts again as one that has crashed. */
  tick(): void {
    if (this.#child === null || this.phase !== "live") return;
    this.#silentTicks += 1;
    const bound = this.#heardOf ? SILENT_TICKS_KILL_INGRESS : SILENT_TICKS_KILL_STARTING;
    if (this.#silentTicks < bound) return;
    this.#verdict ??= `It gave no sign of life for ${(bound * TICK_MS) / 1000} s, so it was killed.`;
    this.#child.kill();
  }

  report(): IngressReport {
    return this.#report;
  }

  #starting(): IngressReport {
    return { ingress: this.spec.ingress, state: "starting", urls: [], http: null, grpc: null, pid: null };
  }

  #heard(message: FromIngress): void {
    this.#heardOf = true;
    this.#silentTicks = 0;
    if (message.type !== "report") return;
    this.#served ||= message.report.state === "ready";
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
    const cap = this.#served ? INGRESS_RETRY_SERVED_CAP_MS : INGRESS_RETRY_CAP_MS;
    this.retryAt = now + (this.#crashes === 0 ? 0 : Math.min(cap, INGRESS_RETRY_BASE_MS * 2 ** (this.#crashes - 1)));
    this.#crashes = Math.min(this.#crashes + 1, 10);
    // It had said why, if it ended because it could not listen.
    this.#report = { ...this.#report, state: "failed", error: this.#verdict ?? this.#report.error ?? how, pid: null };
    this.#changed();
  }

  #gone(): void {
    this.phase = "gone";
    this.killAt = null;
    this.#changed();
  }
}
