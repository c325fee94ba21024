import { expect, test } from "vitest";
import { deployment } from "../../../serve/index.ts";
import { FakeIngress, VirtualTime, bench, lastStatus, statuses, turns } from "./bench.ts";

class D {
  config: unknown = null;
  release = Promise.withResolvers<void>();
  ill = "";
  disposed = false;
  reconfigure(config: { boom?: boolean }) {
    if (config.boom === true) throw new Error("reconfigure failed on purpose");
    this.config = config;
  }
  async checkHealth() {
    if (this.ill === "hang") await new Promise(() => {});
    if (this.ill !== "") throw new Error(this.ill);
  }
  async fetch(request: Request) {
    const path = new URL(request.url).pathname;
    if (path === "/wait") await this.release.promise;
    if (path === "/release") this.release.resolve();
    if (path.startsWith("/ill")) this.ill = decodeURIComponent(path.slice(5));
    return this.config;
  }
  async [Symbol.asyncDispose]() {
    disposals++;
  }
}
let disposals = 0;
const app = deployment(D).bind() as never;
const config = (version: number, userConfig: unknown, more = {}) =>
  ({
    type: "reconfigure",
    userConfig,
    userConfigVersion: version,
    maxOngoingRequests: 5,
    ticket: "ticket-2",
    ...more,
  }) as const;

test("it greets with its ticket, tells how it starts, and then is ready", async () => {
  const { ingress, told, ready } = await bench(app, { spec: { userConfig: { a: 1 } } });
  expect(ready).toBe(true);
  expect(ingress.tickets).toEqual(["ticket-1"]);
  expect(statuses(told)).toEqual(["loading code", "initialising", "ready"]);
  const sent = ingress.http();
  await sent.done;
  expect(sent.text()).toBe('{"a":1}');
});

test("it says busy until it is ready", async () => {
  const go = Promise.withResolvers<void>();
  class Slow {
    init() {
      return go.promise;
    }
    fetch() {
      return "ok";
    }
  }
  const made = await bench(deployment(Slow, { name: "D" }).bind() as never, { start: false });
  const starting = made.replica.start();
  await turns();
  expect((await made.ingress.http().done).busy).toBe(true);
  go.resolve();
  await starting;
  expect((await made.ingress.http().done).accepted).toBe(true);
});

test("what user code throws at the start is told, with where", async () => {
  class Broken {
    constructor() {
      throw new TypeError("no weights");
    }
  }
  const { told, ready } = await bench(deployment(Broken, { name: "D" }).bind() as never);
  expect(ready).toBe(false);
  expect(lastStatus(told)).toMatchObject({
    state: "failed",
    error: expect.stringMatching(/TypeError: no weights\n.*lifecycle\.test\.ts/),
  });
});

test("another graph than the built one is refused by name", async () => {
  const { told } = await bench(app, { change: (m) => ({ ...m, graph: { ...m.graph, hash: "f".repeat(64) } }) });
  expect(lastStatus(told).error).toMatch(/^NONDETERMINISTIC_GRAPH: 'test:app' gives another application/);
});

test("a user config without reconfigure fails the start (X-LIFE-01)", async () => {
  const plain = deployment({ fetch: () => 1 }, { name: "D" }).bind();
  const { told } = await bench(plain as never, { spec: { userConfig: { a: 1 } } });
  expect(lastStatus(told).error).toBe(
    "user_config specified but deployment Deployment(name='D', app='app') missing reconfigure method",
  );
});

test("a new config applies while requests run (C113), in order; a refused one keeps the old (X-UPD-04)", async () => {
  const { ingress, replica, told } = await bench(app);
  const waiting = ingress.http({ path: "/wait" });
  await turns();
  replica.receive(config(2, { v: 2 }));
  replica.receive(config(3, { v: 3 }));
  await turns();
  expect(lastStatus(told)).toMatchObject({ userConfigVersion: 3, state: "ready" });
  ingress.http({ path: "/release" });
  await waiting.done;
  expect(waiting.text()).toBe('{"v":3}');
  replica.receive(config(4, { boom: true }));
  await turns();
  expect(lastStatus(told)).toMatchObject({
    userConfigVersion: 3,
    reconfigureError: expect.stringContaining("reconfigure failed on purpose"),
  });
  const after = ingress.http();
  await after.done;
  expect(after.text()).toBe('{"v":3}');
});

test("a config of the version in force is not applied again", async () => {
  const { ingress, replica } = await bench(app, { spec: { userConfig: { v: 1 } } });
  replica.receive(config(1, { v: "again" }));
  const sent = ingress.http();
  await sent.done;
  expect(sent.text()).toBe('{"v":1}');
});

test("a new limit and ticket count at once", async () => {
  const { ingress, replica } = await bench(app);
  replica.receive(config(1, null, { maxOngoingRequests: 1 }));
  ingress.http({ path: "/wait" });
  await turns();
  expect((await ingress.http().done).busy).toBe(true);
  ingress.drop();
  await turns();
  expect(replica.ticket()).toBe("ticket-2");
});

test("a lost link is dialled again, URLs in order, with the ticket as it is then", async () => {
  const made = await bench(app, { urls: ["ws://zero", "ws://one", "ws://relay"] });
  await made.time.advance(10);
  expect(made.dialled).toEqual(["ws://zero", "ws://one"]);
  made.replica.receive(config(1, null));
  made.ingress.drop();
  await made.time.advance(500);
  expect(made.dialled.slice(2)).toEqual(["ws://zero", "ws://one"]);
  expect(made.ingress.tickets).toEqual(["ticket-1", "ticket-2"]);
  const sent = made.ingress.http();
  expect((await sent.done).accepted).toBe(true);
});

test("an ingress that can't be reached is tried again and again, with pauses that grow and stop growing", async () => {
  const before = new VirtualTime().now;
  const made = await bench(app, { urls: ["ws://nowhere"] });
  // It waited a moment for its first link, so that requests needn't; then it was ready all the same.
  expect(made.ready).toBe(true);
  expect(made.time.now - before).toBeGreaterThanOrEqual(500);
  await made.time.advance(60_000);
  expect(made.dialled.length).toBeGreaterThan(50);
  expect(made.dialled.length).toBeLessThan(120);
  expect(made.logs.filter((l) => l.includes("can't be reached"))).toHaveLength(1);
});

test("ingresses come and go with the assignment; handle calls prefer the own host's", async () => {
  const made = await bench(app);
  const other = new FakeIngress(made.time);
  made.listeners.set("ws://two", other);
  const local = { ingress: "i", host: "host-1", urls: ["ws://one"] };
  const remote = { ingress: "j", host: "host-2", urls: ["ws://two"] };
  made.replica.receive({ type: "ingresses", ingresses: [remote] });
  await made.time.advance(10);
  expect(other.tickets).toEqual(["ticket-1"]);
  // What runs on its link is finished: the ingress closes it when it has drained.
  expect(made.ingress.closes).toHaveLength(0);
  const far = made.replica.pick();
  expect(far).toBeDefined();
  made.replica.receive({ type: "ingresses", ingresses: [remote, local] });
  await made.time.advance(10);
  const near = made.replica.pick();
  expect([near !== undefined, near === far, made.replica.pick() === near]).toEqual([true, false, true]);
});

test("addresses that come before the start count, not those of the options", async () => {
  const made = await bench(app, { urls: ["ws://nowhere"], start: false });
  made.replica.receive({ type: "ingresses", ingresses: [{ ingress: "k", host: "host-1", urls: ["ws://one"] }] });
  await made.replica.start();
  await made.time.advance(10);
  expect(made.replica.pick()).toBeDefined();
  expect(made.dialled).toEqual(["ws://one"]);
});

test("a silent ingress is noticed and dialled again", async () => {
  const made = await bench(app);
  await made.time.advance(5_000);
  expect(made.dialled.length).toBe(2);
});

test("three failed or late health checks in a row are ill health, one good one ends it", async () => {
  const { ingress, time, told } = await bench(app, { spec: { healthCheckPeriodS: 1, healthCheckTimeoutS: 2 } });
  const set = async (ill: string): Promise<void> =>
    void (await ingress.http({ path: `/ill/${encodeURIComponent(ill)}` }).done);
  await set("bad weather");
  await time.advance(2_100);
  expect(lastStatus(told).state).toBe("ready");
  await time.advance(1_000);
  expect(lastStatus(told)).toMatchObject({ state: "unhealthy", error: "Error: bad weather" });
  await set("");
  await time.advance(1_100);
  expect(lastStatus(told).state).toBe("ready");
  await set("hang");
  await time.advance(10_000);
  expect(lastStatus(told)).toMatchObject({ state: "unhealthy", error: "The health check took longer than 2 s." });
});

test("stop drains: goaway, what runs ends, newcomers are told busy, user code disposes", async () => {
  disposals = 0;
  const { ingress, replica, time, told } = await bench(app);
  const waiting = ingress.http({ path: "/wait" });
  await turns();
  let stopped = false;
  const link = ingress.link!;
  const late = ingress.http();
  void replica.stop(10_000).then(() => (stopped = true));
  expect((await late.done).busy).toBe(true);
  await time.advance(1_000);
  expect(ingress.goaways).toEqual(["The replica stops."]);
  expect(link.draining).toBe(true);
  expect([stopped, lastStatus(told).state]).toEqual([false, "stopping"]);
  waiting.stream.cancel("done waiting");
  await time.advance(1_000);
  expect([stopped, disposals, ingress.closes.at(-1)]).toEqual([true, 1, "The replica has stopped."]);
});

test("stop gives up on what runs too long, and says so", async () => {
  const { ingress, replica, time } = await bench(app);
  const waiting = ingress.http({ path: "/wait" });
  await turns();
  const stopping = replica.stop(2_000);
  await time.advance(3_000);
  await stopping;
  expect((await waiting.done).fail).toMatchObject({ code: "REPLICA_DIED" });
});

test("an engine's slots are the limit unless the deployment said one", async () => {
  const one = await bench(app);
  one.replica.limitFromEngine(1);
  one.ingress.http({ path: "/wait" });
  await turns();
  expect((await one.ingress.http().done).busy).toBe(true);
  const said = await bench(deployment(D, { maxOngoingRequests: 5 }).bind() as never);
  said.replica.limitFromEngine(1);
  said.ingress.http({ path: "/wait" });
  await turns();
  expect((await said.ingress.http().done).busy).toBeUndefined();
});
