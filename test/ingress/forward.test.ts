import { describe, expect, it } from "vitest";
import { REPLAY_BODY_MAX, STREAM_WINDOW } from "../../protocol/limits.ts";
import { Forward } from "../../ingress/forward.ts";
import { LOSSES_MAX, repeatable } from "../../ingress/retry.ts";
import { CLOSE } from "../../protocol/link.ts";
import { answer, bytes, Client, httpHead } from "./client.ts";
import { routed, table, TestMesh, type PlayedReplica, type TableOptions } from "./harness.ts";

function ask(
  t: TestMesh,
  over: { method?: string; key?: boolean; deadline?: number; ended?: boolean; model?: string } = {},
): Client {
  const method = over.method ?? "GET";
  const client = new Client();
  const request = {
    head: httpHead({ method, model: over.model ?? "" }),
    repeatable: repeatable(method, over.key ?? false),
    deadline: over.deadline ?? null,
    ended: over.ended ?? true,
  };
  client.forward = new Forward(t.mesh.pool("app", "D")!, request, client);
  client.forward.start();
  return client;
}

function mesh(replicas: string[], deployment: NonNullable<TableOptions["deployments"]>[number] = {}): TestMesh {
  const t = new TestMesh();
  t.mesh.apply(table({ deployments: [{ ...deployment, replicas: replicas.map((r) => routed(r)) }] }));
  for (const replica of replicas) t.link(replica);
  return t;
}

const allTaken = (t: TestMesh) => t.replicas.flatMap((r) => r.taken);

describe("one request", () => {
  it("is sent with its head and answered", () => {
    const t = mesh(["a"]);
    const client = ask(t, { method: "POST", ended: false });
    client.forward.write("bytes", bytes("bo"), false);
    client.forward.write("bytes", bytes("dy"), false);
    client.forward.end();
    t.settle();
    const [taken] = t.replicas[0]!.taken;
    expect(taken).toMatchObject({
      body: "body",
      bodyEnded: true,
      ended: false,
      head: { kind: "http", method: "POST", epoch: 0, hops: 1 },
    });
    answer(taken!, "hello");
    t.settle();
    expect(client).toMatchObject({ text: "hello", ended: {}, failed: null });
    expect(t.mesh.pool("app", "D")!.ongoing).toBe(0);
  });

  it("waits for a replica that is linked later, and for one that the table lists later", () => {
    const t = new TestMesh();
    t.mesh.apply(table({ deployments: [{ replicas: [routed("a")] }] }));
    const client = ask(t);
    expect(t.mesh.pool("app", "D")!.queued).toBe(1);
    t.link("a");
    t.settle();
    expect(allTaken(t)).toHaveLength(1);
    t.link("b");
    for (let i = 0; i < 5; i++) ask(t);
    t.settle();
    expect(t.replicas[1]!.taken).toHaveLength(0);
    t.mesh.apply(table({ revision: 2, deployments: [{ replicas: [routed("a"), routed("b")] }] }));
    t.settle();
    expect(t.replicas[1]!.taken).toHaveLength(1);
    expect(client.over).toBe(false);
  });

  it("goes to another replica when one is busy, without touching the retry budget, and keeps its body", () => {
    const t = mesh(["a", "b"]);
    const client = ask(t, { method: "POST", ended: false });
    client.forward.write("bytes", bytes("body"), false);
    client.forward.end();
    t.settle();
    const first = t.replicas.find((r) => r.taken.length > 0)!;
    first.taken[0]!.stream.busy();
    t.settle();
    const second = t.replicas.find((r) => r !== first)!;
    expect(second.taken[0]).toMatchObject({ body: "body", bodyEnded: true, head: { epoch: 1 } });
    answer(second.taken[0]!, "ok");
    t.settle();
    expect(client.text).toBe("ok");
  });

  it("waits when the only replica is busy, and is woken by what completes there", () => {
    const t = mesh(["a"]);
    const one = ask(t);
    const two = ask(t);
    t.settle();
    const [first, second] = t.replicas[0]!.taken;
    first!.stream.accept();
    second!.stream.busy();
    t.settle();
    expect(t.mesh.pool("app", "D")!.queued).toBe(1);
    answer(first!, "1");
    t.settle();
    answer(t.replicas[0]!.taken[2]!, "2");
    t.settle();
    expect([one.text, two.text]).toEqual(["1", "2"]);
  });

  it("is tried again by the tick when a refusal has grown old and nothing completes here", () => {
    const t = mesh(["a"]);
    ask(t);
    t.settle();
    t.replicas[0]!.taken[0]!.stream.busy();
    t.settle();
    expect(t.replicas[0]!.taken).toHaveLength(1);
    t.now += 1_500;
    t.mesh.tick();
    t.settle();
    expect(t.replicas[0]!.taken).toHaveLength(2);
  });

  it("passes on what user code failed with, and doesn't send it again", () => {
    const t = mesh(["a", "b"]);
    const client = ask(t);
    t.settle();
    const [taken] = allTaken(t);
    taken!.stream.accept();
    taken!.stream.fail({ code: "APPLICATION_ERROR", message: "boom" });
    t.settle();
    expect(client.failed).toMatchObject({ code: "APPLICATION_ERROR" });
    expect(allTaken(t)).toHaveLength(1);
  });
});

describe("when a replica is lost", () => {
  const cases: {
    name: string;
    method: string;
    key?: boolean;
    retry?: "no-output";
    produced?: boolean;
    again: boolean;
  }[] = [
    { name: "a GET", method: "GET", again: true },
    { name: "a HEAD", method: "HEAD", again: true },
    { name: "a PUT", method: "PUT", again: true },
    { name: "a DELETE", method: "DELETE", again: true },
    { name: "a POST", method: "POST", again: false },
    { name: "a PATCH", method: "PATCH", again: false },
    { name: "a POST with a key", method: "POST", key: true, again: true },
    { name: "a POST to a no-output deployment", method: "POST", retry: "no-output", again: true },
    { name: "a GET that has begun to answer", method: "GET", produced: true, again: false },
  ];
  it.each(cases)("$name is sent again: $again", ({ method, key, retry, produced, again }) => {
    const t = mesh(["a", "b"], retry === undefined ? {} : { retry });
    const client = ask(t, { method, key: key ?? false });
    t.settle();
    const first = t.replicas.find((r) => r.taken.length > 0)!;
    first.taken[0]!.stream.accept();
    if (produced === true) first.taken[0]!.stream.head({ status: 200, headers: [] });
    t.settle();
    first.die();
    t.settle();
    const other = t.replicas.find((r) => r !== first)!;
    expect(other.taken.length).toBe(again ? 1 : 0);
    if (again) {
      expect(other.taken[0]!.head.epoch).toBe(1);
      answer(other.taken[0]!, "ok");
      t.settle();
      expect(client.text).toBe("ok");
    } else expect(client.failed).toMatchObject({ code: "REPLICA_DIED" });
  });

  it("waits for the replacement when there is no other", () => {
    const t = mesh(["a"]);
    const client = ask(t);
    t.settle();
    t.replicas[0]!.die();
    t.settle();
    expect(client.over).toBe(false);
    t.mesh.apply(table({ revision: 2, deployments: [{ replicas: [routed("n")] }] }));
    t.link("n");
    t.settle();
    answer(t.replicas[1]!.taken[0]!, "new");
    t.settle();
    expect(client.text).toBe("new");
  });

  it("fails what was inside two dying replicas", () => {
    const t = mesh(["a", "b", "c"]);
    const client = ask(t);
    t.settle();
    t.replicas.find((r) => r.taken.length > 0)!.die();
    t.settle();
    t.replicas.find((r) => r.taken.length > 0 && r.pair.dialler.state === "ready")!.die();
    t.settle();
    expect(client.failed).toMatchObject({ code: "REPLICA_DIED" });
    expect(allTaken(t)).toHaveLength(2);
  });

  it("sends a held body again, and fails one that was too large to hold", () => {
    for (const [size, again] of [
      [REPLAY_BODY_MAX - 10, true],
      [REPLAY_BODY_MAX + 10, false],
    ] as const) {
      const t = mesh(["a", "b"]);
      const client = ask(t, { method: "PUT", ended: false });
      const piece = new Uint8Array(64 * 1024).fill(120);
      for (let sent = 0; sent < size;) {
        const next = piece.subarray(0, Math.min(piece.byteLength, size - sent));
        sent += next.byteLength;
        client.forward.write("bytes", next, false);
        t.settle();
        for (const taken of allTaken(t)) taken.stream.accept();
      }
      t.settle();
      t.replicas.find((r) => r.taken.length > 0)!.die();
      t.settle();
      const heir = allTaken(t)[1] ?? allTaken(t)[0]!;
      if (again) expect(allTaken(t).map((x) => x.body.length)).toEqual([size, size]);
      else expect(client.failed).toMatchObject({ code: "REPLICA_DIED" });
      expect(heir).toBeDefined();
    }
  });

  it("keeps the budget: beyond it requests fail instead of being sent again", () => {
    const t = mesh(["a"], { maxOngoingRequests: 100 });
    const clients = Array.from({ length: 50 }, () => ask(t));
    t.settle();
    t.replicas[0]!.die();
    t.settle();
    // 10 always, and 20 % of 50.
    expect(clients.filter((c) => c.failed === null)).toHaveLength(20);
  });

  it("nothing is tried for ever, even where nobody dies", () => {
    const t = mesh(["a"]);
    const client = ask(t);
    t.settle();
    let sent = 1;
    for (; client.failed === null && sent < 100; sent += 1) {
      const { listener } = t.replicas.at(-1)!.pair;
      t.link("a");
      listener.close(CLOSE.notAllowed, "A newer connection of this replica has taken over.");
      t.settle();
    }
    expect(client.failed).toMatchObject({ code: "REPLICA_DIED" });
    expect(allTaken(t)).toHaveLength(LOSSES_MAX);
  });

  it("an ingress that was away itself counts no deaths and no retries, and asks before it relies on a link again", () => {
    const t = mesh(["a", "b", "c"], { maxOngoingRequests: 100 });
    const clients = Array.from({ length: 150 }, () => ask(t, { method: "POST", key: true }));
    const plain = ask(t, { method: "POST" });
    t.settle();
    t.now = 9_000;
    const [a, b, c] = t.replicas as [PlayedReplica, PlayedReplica, PlayedReplica];
    for (const { pair } of t.replicas) {
      // Its side of the link has waited just so long that it bears it.
      for (pair.now = 0; pair.now < t.now; pair.now += 3_000) pair.dialler.tick(pair.now);
      pair.listener.tick(t.now);
    }
    a.die();
    // b and c are not asked before they have answered; b never does.
    expect([b, c].map((r) => r.taken.length)).toEqual([50, 50]);
    b.die();
    t.settle();
    expect(plain.failed).toMatchObject({ code: "REPLICA_DIED" });
    expect(clients.filter((client) => client.failed !== null)).toEqual([]);
    expect(c.taken.filter((taken) => taken.head.epoch === 1)).toHaveLength(50);
    // From here on a death is a death.
    c.die();
    t.settle();
    expect(clients.filter((client) => client.failed === null).length).toBeLessThan(100);
  });
});

describe("limits", () => {
  it("refuses beyond max_queued_requests in Ray's words, and serves the rest first in, first out", () => {
    const t = mesh(["a"], { maxOngoingRequests: 1, maxQueuedRequests: 2 });
    const clients = Array.from({ length: 5 }, () => ask(t));
    t.settle();
    expect(clients.slice(3).map((c) => c.failed?.message)).toEqual(
      Array(2).fill("Request dropped due to backpressure (num_queued_requests=2, max_queued_requests=2)."),
    );
    for (const [i, client] of clients.slice(0, 3).entries()) {
      expect(t.replicas[0]!.taken).toHaveLength(i + 1);
      answer(t.replicas[0]!.taken[i]!, `${i}`);
      t.settle();
      expect(client.text).toBe(`${i}`);
    }
  });

  it("never runs a request whose time passed in the queue", () => {
    const t = mesh(["a"], { maxOngoingRequests: 1 });
    ask(t);
    const late = ask(t, { deadline: 100 });
    t.settle();
    // Its owner's timer is late too.
    t.now = 101;
    answer(t.replicas[0]!.taken[0]!, "x");
    t.settle();
    expect(late.failed).toMatchObject({ code: "TIMEOUT" });
    expect(t.replicas[0]!.taken).toHaveLength(1);
  });

  it("cancels at the replica when the client leaves or time is up, and frees the place", () => {
    const t = mesh(["a"], { maxOngoingRequests: 1 });
    const client = ask(t, { deadline: 50 });
    t.settle();
    expect(t.replicas[0]!.taken[0]!.head.deadlineMs).toBe(50);
    client.forward.expire();
    const next = ask(t);
    t.settle();
    expect(t.replicas[0]!.taken[0]!.cancelled).not.toBeNull();
    expect(t.replicas[0]!.taken).toHaveLength(2);
    next.forward.cancel("gone");
    t.settle();
    expect(t.replicas[0]!.taken[1]!.cancelled).toBe("gone");
    expect(next.over).toBe(false);
  });

  it("frees its place in the queue when it leaves", () => {
    const t = mesh(["a"], { maxOngoingRequests: 1, maxQueuedRequests: 1 });
    ask(t);
    const leaver = ask(t);
    leaver.forward.cancel("gone");
    expect(t.mesh.pool("app", "D")!.queued).toBe(0);
    expect(ask(t).failed).toBeNull();
  });

  it("answers at once when the deployment failed or was removed", () => {
    const t = mesh(["a"], { maxOngoingRequests: 1 });
    ask(t);
    const waiting = ask(t);
    const pool = t.mesh.pool("app", "D")!;
    t.mesh.apply(table({ revision: 2, deployments: [{ unavailable: true }] }));
    expect(waiting.failed?.message).toBe("Deployment(name='D', app='app') is unavailable because it failed to deploy.");
    t.mesh.apply(table({ revision: 3, deployments: [] }));
    const client = new Client();
    new Forward(pool, { head: httpHead(), repeatable: true, deadline: null, ended: true }, client).start();
    expect(client.failed).toMatchObject({ code: "UNAVAILABLE" });
  });

  it("stops the writer of a body while nobody takes it, and the replica while nobody reads", () => {
    const t = new TestMesh();
    t.mesh.apply(table({ deployments: [{ replicas: [routed("a")] }] }));
    const client = ask(t, { method: "POST", ended: false });
    const piece = new Uint8Array(64 * 1024);
    let written = 0;
    while (client.forward.write("bytes", piece, false)) written += piece.byteLength;
    expect(written).toBeLessThanOrEqual(STREAM_WINDOW);
    t.link("a");
    t.settle();
    expect(client.writable).toBeGreaterThan(0);
    client.hold = true;
    const [taken] = t.replicas[0]!.taken;
    taken!.stream.accept();
    taken!.stream.head({ status: 200, headers: [] });
    let produced = 0;
    while (taken!.stream.write("bytes", new Uint8Array(1000))) produced += 1000;
    t.settle();
    expect(produced).toBeLessThanOrEqual(STREAM_WINDOW);
    expect(taken!.stream.writable).toBe(false);
    client.forward.consumed(client.owed);
    t.settle();
    expect(taken!.stream.writable).toBe(true);
  });
});
