import { describe, expect, it } from "vitest";
import {
  INGRESS_RETRY_BASE_MS,
  INGRESS_RETRY_SERVED_CAP_MS,
  REPORT_INTERVAL_MS,
  SILENT_TICKS_KILL_INGRESS,
  TICK_MS,
} from "../../../worker/agent/limits.ts";
import { assignment, ingressSpec, replicaSpec } from "./specs.ts";

import { serving, start } from "./started.ts";

describe("the ingress", () => {
  const report = (ingress: string, port: number) => ({
    ingress,
    state: "ready" as const,
    urls: [`ws://127.0.0.1:${port}/link`],
    http: { host: "127.0.0.1", port: 8000 },
    grpc: null,
    pid: 1,
  });

  it("is started, reported, told of changes, and started again at once after a crash, then ever later", async () => {
    const { platform } = start();
    platform.connection.welcome();
    platform.connection.say(assignment(1, [], ingressSpec("i")));
    await platform.pass(20);
    platform.ingresses[0]?.events.onMessage({ type: "report", report: report("i", 5) });
    await platform.pass(20);
    expect(platform.connection.lastReport.ingress).toMatchObject({ state: "ready", urls: ["ws://127.0.0.1:5/link"] });
    platform.connection.say(assignment(2, [], ingressSpec("i", 8901)));
    await platform.pass(20);
    expect(platform.ingresses[0]?.told).toMatchObject([{ type: "spec", spec: { http: { port: 8901 } } }]);
    // Without the coordinator, too.
    platform.connection.break();
    const at = platform.time;
    const starts: number[] = [];
    for (let crash = 0; crash < 4; crash += 1) {
      const before = platform.ingresses.length;
      platform.ingresses.at(-1)?.kill();
      while (platform.ingresses.length === before) await platform.pass(5);
      starts.push(platform.time);
    }
    expect(starts[0]! - at).toBeLessThanOrEqual(10);
    expect(starts[3]! - starts[2]!).toBeGreaterThanOrEqual(INGRESS_RETRY_BASE_MS * 4);
  });

  it("that had been ready is soon back, however often it ends", async () => {
    const { platform } = start();
    platform.connection.welcome();
    platform.connection.say(assignment(1, [], ingressSpec("i")));
    await platform.pass(20);
    for (let crash = 0; crash < 8; crash += 1) {
      const child = platform.ingresses.at(-1)!;
      child.events.onMessage({ type: "report", report: report("i", 5) });
      const before = platform.ingresses.length;
      child.kill();
      await platform.pass(INGRESS_RETRY_SERVED_CAP_MS + TICK_MS);
      expect(platform.ingresses.length).toBe(before + 1);
    }
  });

  it("that hangs is killed, once, and started again; one that was heard of now and then is not", async () => {
    const { platform } = start();
    platform.connection.welcome();
    platform.connection.say(assignment(1, [], ingressSpec("i")));
    await platform.pass(20);
    const [first] = platform.ingresses;
    for (let i = 0; i < 3; i += 1) {
      first!.events.onMessage({ type: "alive" });
      await platform.pass((SILENT_TICKS_KILL_INGRESS - 1) * TICK_MS);
    }
    expect(first!.killed).toBe(false);
    await platform.pass(2 * TICK_MS);
    expect(first!.killed).toBe(true);
    expect(platform.ingresses).toHaveLength(2);
    // It may take its time to start.
    await platform.pass(2 * SILENT_TICKS_KILL_INGRESS * TICK_MS);
    expect(platform.ingresses).toHaveLength(2);
    for (const again of [1, 2]) {
      platform.ingresses[again]!.events.onMessage({ type: "alive" });
      await platform.pass(SILENT_TICKS_KILL_INGRESS * TICK_MS);
      expect(platform.ingresses[again]!.killed).toBe(true);
      await platform.pass(20);
    }
    // Twice without a calm time between: it waits, and says why.
    expect(platform.connection.lastReport.ingress?.error).toBe("It gave no sign of life for 8 s, so it was killed.");
  });

  it("can't be on a worker that can only dial out", async () => {
    const { platform } = start();
    platform.startIngress = null;
    platform.connection.welcome();
    platform.connection.say(assignment(1, [], ingressSpec("i")));
    await platform.pass(20);
    expect(platform.connection.lastReport.ingress).toMatchObject({ state: "failed", urls: [] });
  });
});

describe("the agent", () => {
  it("repeats its report, and sends one for many changes of a turn", async () => {
    const { platform } = await serving();
    const before = platform.connection.reports.length;
    for (let i = 0; i < 50; i += 1) platform.replica().says("ready");
    await platform.pass(20);
    expect(platform.connection.reports.length - before).toBe(1);
    for (let second = 0; second < 20; second += 1) {
      platform.replica().events.onMessage({ type: "alive", ongoing: 0 });
      await platform.pass(1_000);
    }
    expect(platform.connection.reports.length - before - 1).toBeGreaterThanOrEqual(
      20_000 / (REPORT_INTERVAL_MS + TICK_MS) - 1,
    );
  });

  it("hands requests for logs on", async () => {
    const { platform } = await serving();
    platform.connection.say({ type: "logs", replica: "r", reader: "x", follow: true, tailBytes: 100 });
    expect(platform.logRequests).toMatchObject([{ replica: "r", reader: "x", follow: true, tailBytes: 100 }]);
  });

  it("leaves: the ingress drains, then the replicas, then it says goodbye", async () => {
    const { agent, platform } = start();
    platform.connection.welcome();
    platform.connection.say(assignment(1, [replicaSpec("r")], ingressSpec("i")));
    await platform.pass(20);
    platform.replica().says("ready");
    let left = false;
    void agent.leave("stopped").then(() => (left = true));
    await platform.pass(20);
    expect(platform.ingresses[0]?.told).toMatchObject([{ type: "stop" }]);
    expect(platform.replica().told).toEqual([]);
    platform.ingresses[0]?.events.onExit("ended");
    await platform.pass(20);
    expect(platform.replica().told).toMatchObject([{ type: "stop", waitLoopMs: 0 }]);
    expect(left).toBe(false);
    platform.replica().events.onExit("ended");
    await platform.pass(20);
    expect(left).toBe(true);
    expect(platform.connection.received.at(-1)).toMatchObject({ type: "leave", reason: "stopped" });
    await platform.pass(60_000);
    expect(platform.connections).toHaveLength(1);
  });

  it("kills at once when it is told a second time", async () => {
    const { agent, platform } = await serving();
    void agent.leave("stopped");
    agent.kill();
    expect(platform.replica().killed).toBe(true);
  });
});
