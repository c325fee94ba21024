/** What an ingress holds for slow readers: the bound, who is cut for it, and how streams are narrowed before. */
import { once } from "node:events";
import { connect } from "node:net";
import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { Backlog, type Reader } from "../../ingress/backlog.ts";
import { Forward } from "../../ingress/forward.ts";
import { switched } from "../../ingress/switch.ts";
import { BACKLOG_MAX, FRAME_PAYLOAD_MAX, KIB, STREAM_WINDOW } from "../../protocol/limits.ts";
import type { Stream } from "../../protocol/stream.ts";
import { linkPair } from "../support/link-pair.ts";
import { call, recorder } from "../support/link-recorder.ts";
import { Client, httpHead } from "./client.ts";
import { routed, table, TestMesh } from "./harness.ts";
import { one, until } from "./opened.ts";
import type { Handler, Running } from "./running.ts";

interface Played extends Reader {
  readonly name: number;
}
function readers(count: number, order: number[]): Played[] {
  return Array.from({ length: count }, (_, name) => ({
    name,
    backlog: 0,
    late: false,
    cut: () => void order.push(name),
  }));
}

describe("the backlog", () => {
  it("cuts who has taken nothing for longest, as few as needed, and nobody below the bound", () => {
    const cut: number[] = [];
    const [a, b, c] = readers(3, cut) as [Played, Played, Played];
    const backlog = new Backlog(300 * KIB);
    for (const reader of [a, b, c]) backlog.hold(reader, 100 * KIB);
    expect(cut).toEqual([]);
    // The oldest has taken something: it goes behind the others.
    backlog.taken(a, 10 * KIB);
    backlog.hold(c, 50 * KIB);
    expect(cut).toEqual([1]);
    expect(backlog.total).toBe(a.backlog + c.backlog);
    backlog.hold(a, 100 * KIB);
    expect(cut).toEqual([1, 2]);
    expect(backlog.cuts).toBe(2);
  });

  it("holds whatever happens: the sum is right, at most the bound, and only those who hold something are cut", () => {
    const step = fc.record({ who: fc.nat(9), bytes: fc.integer({ min: 1, max: 70 * KIB }), takes: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const max = 256 * KIB;
        const backlog = new Backlog(max);
        const cut: number[] = [];
        const all = readers(10, cut);
        const idle = new Map(all.map((reader) => [reader.name, 0]));
        steps.forEach(({ who, bytes, takes }, i) => {
          const reader = all[who]!;
          const before = all.map((r) => r.backlog);
          cut.length = 0;
          if (takes) backlog.taken(reader, bytes);
          else backlog.hold(reader, bytes);
          if (takes || before[who] === 0) idle.set(who, i);
          for (const name of cut) {
            expect(before[name]! + (name === who ? bytes : 0)).toBeGreaterThan(0);
            expect(all[name]!.backlog).toBe(0);
            // Nobody who stands still for longer, with something worth cutting, was passed over.
            for (const other of all)
              if (other.backlog > 4 * KIB && !cut.includes(other.name))
                expect(idle.get(name)!).toBeLessThanOrEqual(idle.get(other.name)!);
          }
          expect(backlog.total).toBe(all.reduce((sum, r) => sum + r.backlog, 0));
          // Crumbs can't be cut; ten readers have 40 KiB of them at most.
          expect(backlog.total).toBeLessThanOrEqual(max);
        });
      }),
    );
  });

  it("above half of the bound streams are narrowed to one chunk, and they still flow; below it they are wide again", () => {
    const backlog = new Backlog(STREAM_WINDOW);
    const [other] = readers(1, []) as [Played];
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    let inHand = 0;
    let highest = 0;
    let got = 0;
    const stream = pair.dialler.open(
      call(),
      {
        onChunk: (payload, _type, _more, charge) => {
          got += payload.byteLength;
          inHand += charge;
          highest = Math.max(highest, inHand);
        },
      },
      true,
    );
    const drain = (): void => {
      do {
        const charge = inHand;
        inHand = 0;
        stream.consumed(charge, backlog.window);
        pair.settle();
      } while (inHand > 0);
    };
    pair.settle();
    const size = 10 * STREAM_WINDOW;
    const acceptor = peer.streams[0]!;
    acceptor.write("bytes", new Uint8Array(size));
    pair.settle();
    expect(highest).toBeGreaterThan(STREAM_WINDOW - 2 * FRAME_PAYLOAD_MAX);
    backlog.hold(other, STREAM_WINDOW / 2 + 1);
    stream.consumed(inHand, backlog.window);
    inHand = highest = 0;
    pair.settle();
    drain();
    expect(highest).toBeLessThanOrEqual(FRAME_PAYLOAD_MAX + 16);
    expect(got).toBe(size);
    expect(acceptor.writable).toBe(true);

    backlog.taken(other, STREAM_WINDOW);
    acceptor.write("bytes", new Uint8Array(1));
    pair.settle();
    drain();
    highest = 0;
    acceptor.write("bytes", new Uint8Array(size));
    pair.settle();
    expect(highest).toBeGreaterThan(STREAM_WINDOW - 2 * FRAME_PAYLOAD_MAX);
    drain();
    expect(got).toBe(2 * size + 1);
  });
});

describe("slow readers of an ingress", () => {
  const ROOM = 10;
  /** Takes the backlog but for `ROOM` windows, and is never the one that stands still for longest if it is touched often enough. */
  function crowd(backlog: Backlog): () => void {
    const [others] = readers(1, []) as [Played];
    backlog.hold(others, BACKLOG_MAX - ROOM * STREAM_WINDOW);
    return () => backlog.taken(others, 0);
  }

  it("more of them than there is room for: the first are cut, one that reads is not, and all that is held is given back", () => {
    const mesh = new TestMesh();
    mesh.mesh.apply(table({ deployments: [{ replicas: [routed("r1")], maxOngoingRequests: 100 }] }));
    const replica = mesh.link("r1");
    const { backlog } = mesh.mesh;
    const others = crowd(backlog);
    const crowded = backlog.total;
    const held = (): Client => {
      const client = new Client();
      client.hold = true;
      const request = { head: httpHead(), repeatable: false, deadline: null, ended: true };
      client.forward = new Forward(mesh.mesh.pool("app", "D")!, request, client);
      client.forward.start();
      mesh.settle();
      const taken = replica.taken.at(-1)!;
      taken.stream.accept();
      taken.stream.head({ status: 200, headers: [] });
      taken.stream.write("bytes", new Uint8Array(STREAM_WINDOW - 4 * 16));
      mesh.settle();
      return client;
    };
    const reading = held();
    const stopped: Client[] = [];
    for (let i = 0; i < 3 * ROOM; i += 1) {
      others();
      stopped.push(held());
      const owed = reading.owed;
      reading.owed = 0;
      reading.forward.consumed(owed);
      replica.taken[0]!.stream.write("bytes", new Uint8Array(1_000));
      mesh.settle();
      expect(backlog.total).toBeLessThanOrEqual(BACKLOG_MAX);
    }
    const cut = stopped.map((client) => client.cut !== null);
    expect(cut.lastIndexOf(true)).toBeLessThan(cut.indexOf(false));
    expect(cut.filter(Boolean).length).toBeGreaterThanOrEqual(2 * ROOM);
    expect(cut.filter((gone) => !gone).length).toBeGreaterThanOrEqual(ROOM - 2);
    expect(reading.cut).toBeNull();
    expect(replica.taken.filter((taken) => taken.cancelled !== null)).toHaveLength(backlog.cuts);
    for (const client of [...stopped, reading]) {
      client.forward.cancel("over");
      client.forward.taken();
    }
    expect(backlog.total).toBe(crowded);
  });

  it("a replica that calls and does not read is cut too, with the reason; a call that ends leaves nothing", () => {
    const mesh = new TestMesh();
    mesh.mesh.apply(
      table({ deployments: [{}, { name: "Child", replicas: [routed("child")], maxOngoingRequests: 100 }] }),
    );
    const caller = mesh.link("caller");
    const child = mesh.link("child", { deployment: "Child" });
    const context = {
      now: () => 0,
      after: () => () => {},
      pool: (app: string, deployment: string) => mesh.mesh.pool(app, deployment),
    };
    mesh.onStream = (stream, head, ended) => switched(context, new Set(["app#Child"]), stream, head, ended);
    const cancelled: string[] = [];
    const open = (consumes: boolean): Stream => {
      const stream = caller.link.open(
        call({ app: "app", deployment: "Child" }),
        {
          onCancel: (reason) => void cancelled.push(reason),
          onChunk: (_payload, _type, _more, charge) => {
            if (consumes) stream.consumed(charge);
          },
        },
        true,
      );
      mesh.settle();
      const callee = child.taken.at(-1)!.stream;
      callee.accept();
      return callee;
    };
    const whole = open(true);
    whole.write("bytes", new Uint8Array(STREAM_WINDOW));
    whole.end();
    mesh.settle();
    const { backlog } = mesh.mesh;
    expect(backlog.total).toBe(0);
    const others = crowd(backlog);
    // A window waits at the caller, another one here.
    for (let i = 0; i < 3 * ROOM; i += 1) {
      others();
      open(false).write("bytes", new Uint8Array(2 * STREAM_WINDOW));
      mesh.settle();
      expect(backlog.total).toBeLessThanOrEqual(BACKLOG_MAX);
    }
    expect(cancelled.length).toBeGreaterThanOrEqual(ROOM);
    expect(cancelled.length).toBeLessThanOrEqual(2 * ROOM);
    expect(cancelled[0]).toContain("stood still");
    caller.die();
    expect(backlog.total).toBe(BACKLOG_MAX - ROOM * STREAM_WINDOW);
  });

  const endless: Handler = (stream, head) => {
    const upgrade = head.kind === "http" && head.upgrade;
    stream.accept();
    stream.head({ status: upgrade ? 101 : 200, headers: [] });
    const write = (): void => {
      while (stream.write("bytes", new Uint8Array(60_000)));
    };
    setImmediate(write);
    return { onWritable: write };
  };
  /** Nothing more is held for it now than a moment ago, and it is a lot. */
  const standsStill = async (running: Running): Promise<void> => {
    const { backlog } = running.ingress.mesh;
    for (let last = -1; last !== backlog.total || last < STREAM_WINDOW / 4;) {
      last = backlog.total;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };

  it.each(["http", "ws"])("a client's connection (%s) is cut, and nothing is held for it any more", async (scheme) => {
    const running = await one(endless);
    const { backlog } = running.ingress.mesh;
    const headers =
      scheme === "ws"
        ? "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        : "";
    const client = connect(running.port, "127.0.0.1").on("error", () => {});
    client.pause().write(`GET / HTTP/1.1\r\nhost: localhost\r\n${headers}\r\n`);
    await standsStill(running);
    const [others] = readers(1, []) as [Played];
    backlog.hold(others, BACKLOG_MAX);
    expect(backlog.cuts).toBe(1);
    await until(() => running.ingress.mesh.pool("app", "D")!.ongoing === 0);
    expect(backlog.total).toBe(BACKLOG_MAX);
    const closed = once(client, "close");
    client.resume();
    await closed;
  });
});
