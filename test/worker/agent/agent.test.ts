import { describe, expect, it } from "vitest";
import { CONTROL_SILENCE_MAX_MS } from "../../../protocol/limits.ts";
import {
  RECONNECT_BASE_MS,
  RECONNECT_CAP_MS,
  SILENT_TICKS_KILL,
  SILENT_TICKS_UNHEALTHY,
  STOP_GRACE_MS,
  TICK_MS,
} from "../../../worker/agent/limits.ts";
import { assignment, replicaSpec } from "./specs.ts";

import { capabilities, serving, start } from "./started.ts";

describe("the control link", () => {
  it("joins with the token, keeps the ticket, and comes back with it", async () => {
    const { platform } = start();
    platform.connection.welcome();
    expect(platform.connection.received[0]).toMatchObject({
      type: "join",
      credential: "token",
      id: "w",
      host: "h",
      incarnation: 7,
    });
    expect(platform.tickets).toEqual(["ticket of term 1"]);
    platform.connection.break();
    await platform.pass(RECONNECT_CAP_MS);
    platform.connection.open();
    expect(platform.connection.received[0]).toMatchObject({ type: "join", credential: "ticket of term 1" });
  });

  it("falls back to the token when the kept ticket is not known, and gives up when that is refused too", async () => {
    const { platform, refused } = start({ ticket: "of another mesh" });
    platform.connection.open();
    expect(platform.connection.received[0]).toMatchObject({ credential: "of another mesh" });
    platform.connection.say({ type: "refused", code: "UNAUTHENTICATED", message: "no" });
    await platform.pass(1);
    platform.connection.open();
    expect(platform.connection.received[0]).toMatchObject({ credential: "token" });
    platform.connection.say({ type: "refused", code: "UNAUTHENTICATED", message: "no" });
    await platform.pass(60_000);
    expect(refused.map((error) => error.code)).toEqual(["UNAUTHENTICATED"]);
    expect(platform.connections).toHaveLength(2);
  });

  it("tries its URLs in turn, waiting by full jitter below a bound that doubles to its cap", async () => {
    const { platform } = start();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const before = platform.connections.length;
      platform.connection.break();
      const at = platform.time;
      while (platform.connections.length === before) await platform.pass(25);
      waits.push(platform.time - at);
    }
    expect(platform.connections.slice(0, 3).map((c) => c.url)).toEqual([
      "ws://one/control",
      "ws://two/control",
      "ws://one/control",
    ]);
    expect(waits[0]).toBeGreaterThanOrEqual(RECONNECT_BASE_MS * 0.5);
    expect(waits[0]).toBeLessThanOrEqual(RECONNECT_BASE_MS * 1.5);
    expect(waits.at(-1)).toBe(RECONNECT_CAP_MS * platform.chance);
    // Once it was in, the next wait is short again.
    platform.connection.welcome();
    const before = platform.connections.length;
    platform.connection.break();
    await platform.pass(RECONNECT_BASE_MS);
    expect(platform.connections.length).toBe(before + 1);
  });

  it("answers pings, and leaves a coordinator that is silent", async () => {
    const { platform } = start();
    const first = platform.connection;
    first.welcome();
    await platform.pass(10_000);
    expect(first.received.filter((m) => m.type === "pong")).toHaveLength(20);
    expect(first.closed).toBeNull();
    platform.heartbeat = false;
    await platform.pass(CONTROL_SILENCE_MAX_MS + 2 * TICK_MS);
    expect(first.closed).not.toBeNull();
    await platform.pass(RECONNECT_BASE_MS);
    expect(platform.connections).toHaveLength(2);
  });

  it("drops a coordinator that talks nonsense", async () => {
    const { platform } = start();
    const first = platform.connection;
    first.welcome();
    first.say("{");
    expect(first.closed).toMatch(/not JSON/);
  });

  it("tries again after a refusal that may pass", async () => {
    const { platform, refused } = await serving();
    for (const code of ["PROTOCOL", "UNAVAILABLE", "INTERNAL"]) {
      platform.connection.say({ type: "refused", code, message: "not now" });
      await platform.pass(RECONNECT_CAP_MS);
      platform.connection.welcome();
    }
    expect(refused).toEqual([]);
    expect(platform.connections).toHaveLength(4);
    platform.connection.say({ type: "refused", code: "CONFLICT", message: "a newer process" });
    expect(refused.map((error) => error.code)).toEqual(["CONFLICT"]);
  });

  it("joins again with new capabilities", async () => {
    const { agent, platform } = await serving();
    agent.announce({ ...capabilities, gpus: 1 });
    await platform.pass(1);
    platform.connection.open();
    expect(platform.connection.received[0]).toMatchObject({ type: "join", capabilities: { gpus: 1 } });
    expect(platform.replica().killed).toBe(false);
  });
});

describe("replicas", () => {
  it("start, become ready and are reported with the version they answer", async () => {
    const { platform } = await serving();
    expect(platform.replica().options).toMatchObject({
      bundle: "/bundles/x.mjs",
      worker: { id: "w", host: "h", kind: "node" },
    });
    expect(platform.connection.lastReport).toMatchObject({
      held: { term: 1, revision: 1 },
      replicas: [{ replica: "r", state: "ready", pid: platform.replica().pid, incarnation: 1 }],
    });
  });

  it("run on while the coordinator is away, and are reported as they are to the next one", async () => {
    const { platform } = await serving();
    platform.connection.break();
    for (let i = 0; i < 600; i += 1) {
      platform.replica().events.onMessage({ type: "alive", ongoing: 3 });
      await platform.pass(100);
    }
    expect(platform.replica().killed).toBe(false);
    platform.connection.welcome(2);
    expect(platform.connection.lastReport).toMatchObject({
      held: { term: 1, revision: 1 },
      replicas: [{ replica: "r", state: "ready", ongoing: 3 }],
    });
    // An assignment that an older term's coordinator still sends changes nothing.
    platform.connection.say(assignment(1, [replicaSpec("r")], null, 2));
    platform.connection.say(assignment(99, [], null, 1));
    await platform.pass(50);
    expect(platform.replicas).toHaveLength(1);
    expect(platform.replica().told).toEqual([]);
    expect(platform.connection.lastReport.held).toEqual({ term: 2, revision: 1 });
  });

  it("drain when they leave the assignment, and are killed when that takes too long", async () => {
    const { platform } = await serving();
    platform.connection.say(assignment(2, []));
    await platform.pass(20);
    expect(platform.replica().told).toEqual([{ type: "stop", timeoutMs: 20_000, waitLoopMs: 2_000 }]);
    expect(platform.connection.lastReport.replicas).toMatchObject([{ state: "stopping" }]);
    await platform.pass(20_000);
    expect(platform.replica().killed).toBe(false);
    await platform.pass(STOP_GRACE_MS + 2 * TICK_MS);
    expect(platform.replica().killed).toBe(true);
    expect(platform.connection.lastReport.replicas).toEqual([]);
  });

  it("that end by themselves are reported at once, with why, until they leave the assignment", async () => {
    const { platform } = await serving();
    platform.replica().events.onExit("The process was ended by SIGKILL.");
    await platform.pass(10);
    expect(platform.connection.lastReport.replicas).toMatchObject([
      { state: "failed", startup: false, error: "The process was ended by SIGKILL.", pid: null },
    ]);
    platform.connection.say(assignment(2, [replicaSpec("r2")]));
    await platform.pass(20);
    expect(platform.connection.lastReport.replicas).toMatchObject([{ replica: "r2", state: "starting" }]);
  });

  it("whose start failed say so, and why", async () => {
    const { platform } = start();
    platform.connection.welcome();
    platform.connection.say(assignment(1, [replicaSpec("r")]));
    await platform.pass(20);
    platform.replica().says("failed", "init() threw: no such file");
    platform.replica().events.onExit("The process ended with exit code 1.");
    await platform.pass(10);
    expect(platform.connection.lastReport.replicas).toMatchObject([
      { state: "failed", startup: true, error: "init() threw: no such file" },
    ]);
  });

  it("whose code can't be fetched are tried again, then failed", async () => {
    const { platform } = start();
    platform.connection.welcome();
    platform.fetchFailures = 2;
    platform.connection.say(assignment(1, [replicaSpec("r")]));
    await platform.pass(5_000);
    expect(platform.replicas).toHaveLength(1);
    platform.fetchFailures = 100;
    platform.connection.say(assignment(2, [replicaSpec("r"), replicaSpec("s")]));
    await platform.pass(5_000);
    expect(platform.connection.lastReport.replicas[1]).toMatchObject({
      replica: "s",
      state: "failed",
      startup: true,
      error: "The code could not be fetched.",
    });
    expect(platform.fetches).toBe(6);
  });

  it("that are silent become unhealthy, recover when they speak, and are killed when they don't", async () => {
    const { platform } = await serving();
    await platform.pass((SILENT_TICKS_UNHEALTHY + 1) * TICK_MS);
    expect(platform.connection.lastReport.replicas).toMatchObject([{ state: "unhealthy" }]);
    platform.replica().events.onMessage({ type: "alive", ongoing: 0 });
    await platform.pass(20);
    expect(platform.connection.lastReport.replicas).toMatchObject([{ state: "ready" }]);
    await platform.pass((SILENT_TICKS_KILL + 1) * TICK_MS);
    expect(platform.replica().killed).toBe(true);
    expect(platform.connection.lastReport.replicas[0]).toMatchObject({ state: "failed", startup: false });
    expect(platform.connection.lastReport.replicas[0]?.error).toMatch(/no sign of life/);
  });

  it("that call themselves unhealthy stay so, however alive", async () => {
    const { platform } = await serving();
    platform.replica().says("unhealthy", "checkHealth() threw");
    platform.replica().events.onMessage({ type: "alive", ongoing: 0 });
    await platform.pass(20);
    expect(platform.connection.lastReport.replicas).toMatchObject([
      { state: "unhealthy", error: "checkHealth() threw" },
    ]);
  });

  it("get the model they ask for, or why not, and report what is going on", async () => {
    const { platform } = start();
    platform.connection.welcome();
    platform.connection.say(assignment(1, [replicaSpec("r")]));
    await platform.pass(20);
    platform.replica().says("starting");
    platform.replica().events.onMessage({ type: "needModel", id: 1, name: "m", provider: "wasm" });
    await platform.pass(20);
    expect(platform.connection.lastReport.replicas).toMatchObject([
      { state: "starting", progress: "converting: 50 %" },
    ]);
    platform.model = () => Promise.reject(new Error("no model is called m"));
    platform.replica().events.onMessage({ type: "needModel", id: 2, name: "m", provider: "wasm" });
    await platform.pass(20);
    expect(platform.replica().told).toEqual([
      { type: "model", id: 1, model: { kind: "prepared", directory: "/models/x" }, error: null },
      { type: "model", id: 2, model: null, error: "no model is called m" },
    ]);
  });

  it("hear what others of their application load, those that come later too, until it is there", async () => {
    const { platform } = start();
    platform.connection.welcome();
    const specs = [
      replicaSpec("model"),
      replicaSpec("router", { deployment: "Router" }),
      replicaSpec("late", { deployment: "Late" }),
      replicaSpec("other", { app: "other", deployment: "Router" }),
    ];
    platform.connection.say(assignment(1, specs));
    await platform.pass(20);
    const replica = (name: string) => platform.replicas.find(({ options }) => options.spec.replica === name)!;
    replica("router").says("ready");
    replica("model").events.onMessage({ type: "needModel", id: 1, name: "m", provider: "wasm" });
    await platform.pass(20);
    const doing = { type: "loading", deployment: "D", doing: "converting: 50 %", leftS: 7 };
    expect(replica("router").told).toEqual([doing]);
    replica("late").says("ready");
    expect(replica("late").told.at(-1)).toEqual(doing);
    replica("model").says("ready");
    const over = { type: "loading", deployment: "D", doing: null, leftS: undefined };
    expect(replica("router").told).toEqual([doing, over]);
    expect(replica("late").told.at(-1)).toEqual(over);
    expect(replica("other").told).toEqual([]);
  });

  it("hear of changed ingresses, once", async () => {
    const { platform } = await serving();
    const address = { ingress: "i", host: "h", urls: ["ws://x/link"] };
    for (const revision of [2, 3])
      platform.connection.say({ ...assignment(revision, [replicaSpec("r")]), ingresses: [address] });
    await platform.pass(20);
    expect(platform.replica().told).toEqual([{ type: "ingresses", ingresses: [address] }]);
  });

  it("hear of those ingresses only that they are to dial, at their start and later", async () => {
    const { platform } = await serving();
    const address = (ingress: string, replicas?: string[]) => ({
      ingress,
      host: "h",
      urls: ["ws://x/link"],
      ...(replicas === undefined ? {} : { replicas }),
    });
    const specs = [replicaSpec("r"), replicaSpec("r2")];
    const say = (revision: number, ingresses: ReturnType<typeof address>[]): void =>
      platform.connection.say({ ...assignment(revision, specs), ingresses });
    say(2, [address("all"), address("one", ["r"]), address("other", ["r2"])]);
    await platform.pass(20);
    const [first, second] = platform.replicas;
    expect(first!.told).toEqual([{ type: "ingresses", ingresses: [address("all"), address("one")] }]);
    expect(second!.options.ingresses).toEqual([address("all"), address("other")]);
    say(3, [address("all"), address("one", ["r2"])]);
    await platform.pass(20);
    expect(first!.told.at(-1)).toEqual({ type: "ingresses", ingresses: [address("all")] });
    expect(second!.told.at(-1)).toEqual({ type: "ingresses", ingresses: [address("all"), address("one")] });
  });
});
