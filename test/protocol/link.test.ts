import { describe, expect, it } from "vitest";
import { FrameBatch, KIND } from "../../protocol/frame.ts";
import { encodeOpen, packHead } from "../../protocol/heads.ts";
import { HELLO_TIMEOUT_MS, LINK_SILENCE_MAX_MS, PING_INTERVAL_MS } from "../../protocol/limits.ts";
import { CLOSE, Link } from "../../protocol/link.ts";
import { linkPair } from "../support/link-pair.ts";
import { call, recorder, text } from "../support/link-recorder.ts";

describe("a link", () => {
  it("carries a call there and its answer back, in one message each way", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const log: string[] = [];
    const stream = pair.dialler.open(call(), {
      onAccept: (load) => log.push(`accept ${load}`),
      onHead: (head) => log.push(`head ${head.status}`),
      onChunk: (payload, type) => log.push(`${type} ${text(payload)}`),
      onEnd: (end, load) => log.push(`end ${load} ${end.trailers?.join("=")}`),
    });
    stream.writeText("question");
    stream.end();
    expect(pair.step()).toBe(true);
    expect(peer.log).toEqual(["open call r", "text question", "end"]);
    const acceptor = peer.streams[0]!;
    pair.listener.localLoad = 3;
    acceptor.accept();
    acceptor.head({ status: 200, headers: [] });
    acceptor.writeText("answer");
    pair.listener.localLoad = 2;
    acceptor.end({ trailers: ["x", "y"] });
    expect(pair.step()).toBe(true);
    expect(pair.step()).toBe(false);
    expect(log).toEqual(["accept 3", "head 200", "text answer", "end 2 x=y"]);
    expect([pair.dialler.streams, pair.listener.streams]).toEqual([0, 0]);
  });

  it("either side opens streams, with ids of its own", () => {
    const a = recorder();
    const b = recorder();
    const pair = linkPair(a.events, b.events);
    expect(pair.dialler.open(call(), {}).id).toBe(1);
    expect(pair.listener.open(call({ requestId: "q" }), {}).id).toBe(2);
    pair.settle();
    expect([a.log, b.log]).toEqual([["open call q"], ["open call r"]]);
  });

  it("busy closes the stream, nothing else is told", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const log: string[] = [];
    pair.dialler.open(
      call(),
      { onBusy: (load) => log.push(`busy ${load}`), onFail: () => log.push("fail"), onEnd: () => log.push("end") },
      true,
    );
    pair.settle();
    expect(peer.log).toEqual(["open call r ended"]);
    peer.streams[0]!.busy();
    peer.streams[0]!.writeText("late");
    pair.settle();
    expect(log).toEqual(["busy 0"]);
    expect(pair.listener.streams).toBe(0);
  });

  it("a stream that is over has let go of whoever it told", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const events = { onEnd: () => {}, onBusy: () => {}, onFail: () => {} };
    const streams = [0, 1, 2, 3].map(() => pair.dialler.open(call(), events));
    pair.settle();
    peer.streams[0]!.end();
    peer.streams[1]!.busy();
    peer.streams[2]!.fail({ code: "INTERNAL", message: "" });
    streams[3]!.cancel("");
    pair.settle();
    for (const stream of [...streams, ...peer.streams]) expect(Object.keys(stream.events)).toEqual([]);
  });

  it("a broken link loses its streams, once", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const log: string[] = [];
    pair.dialler.open(call(), { onFail: (f, lost) => log.push(`${f.code} ${lost}`) });
    pair.settle();
    pair.dialler.closed(1006, "");
    pair.dialler.closed(1006, "");
    expect(log).toEqual(["REPLICA_DIED died"]);
    pair.listener.closed(1006, "");
    expect(peer.log).toEqual(["open call r", "fail REPLICA_DIED lost"]);
    expect(() => pair.dialler.open(call(), {})).toThrow("no new streams");
  });

  it("goaway stops new streams, not those that run", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const stream = pair.dialler.open(call(), {});
    pair.settle();
    pair.listener.goaway("draining");
    pair.settle();
    expect(() => pair.dialler.open(call(), {})).toThrow("no new streams");
    stream.writeText("still");
    pair.settle();
    expect(peer.log).toContain("text still");
  });

  it("notices silence on both ends, pings from the listening side only", () => {
    const pair = linkPair({}, {});
    let pings = 0;
    for (pair.now = 0; pair.now < 20_000; pair.now += 500) {
      pair.listener.tick(pair.now);
      pair.dialler.tick(pair.now);
      while (pair.step()) pings++;
    }
    expect(pings).toBeGreaterThan((2 * 18_000) / PING_INTERVAL_MS);
    expect(pair.closes).toEqual([]);
    for (const end = pair.now + LINK_SILENCE_MAX_MS + 600; pair.now <= end; pair.now += 500) {
      pair.dialler.tick(pair.now);
      pair.listener.tick(pair.now);
    }
    expect(pair.closes.map((c) => c.code)).toEqual([CLOSE.silent, CLOSE.silent]);
  });

  it("that was away itself takes nobody's silence for death, and doubts a peer until it has answered a ping sent since", () => {
    const trusted: string[] = [];
    const pair = linkPair({}, { onTrusted: () => trusted.push("trusted") });
    pair.listener.tick(500);
    pair.listener.tick(500 + 3 * LINK_SILENCE_MAX_MS);
    expect(pair.closes).toEqual([]);
    expect(pair.listener.doubted).toBe(true);
    // The answer to a ping of before says nothing about now.
    const old = new FrameBatch();
    old.add(KIND.pong, 0, 0, 0, 500);
    pair.listener.receive(old.take(), 510 + 3 * LINK_SILENCE_MAX_MS);
    expect([pair.listener.doubted, trusted]).toEqual([true, []]);
    pair.settle();
    expect([pair.listener.doubted, trusted]).toEqual([false, ["trusted"]]);
  });

  it("a dialler that was away waits for another ping; away for so long that it was given up, it reads nothing more", () => {
    const peer = recorder();
    const pair = linkPair(peer.events, {});
    pair.dialler.tick(1_000);
    pair.dialler.tick(1_000 + LINK_SILENCE_MAX_MS);
    expect([pair.closes, pair.dialler.doubted]).toEqual([[], false]);
    pair.listener.open(call(), {}, true);
    pair.now = 2_000 + 2 * LINK_SILENCE_MAX_MS;
    pair.settle();
    expect(pair.closes).toMatchObject([{ end: "dialler", code: CLOSE.away }]);
    expect(peer.log).toEqual([]);
  });

  it.each([
    ["the socket broke", CLOSE.broken, 600, "died"],
    ["the peer said goodbye", CLOSE.silent, 600, "parted"],
    ["the peer was blocked for too long", CLOSE.away, 600, "died"],
    ["the socket broke while this side was away", CLOSE.broken, 9_000, "parted"],
  ])("tells its streams how it was lost: %s", (_why, code, at, how) => {
    const pair = linkPair(recorder().events, {});
    const log: unknown[] = [];
    pair.listener.open(call(), { onFail: (_fail, lost) => log.push(lost) });
    pair.listener.tick(500);
    pair.listener.closed(code, "", at);
    expect(log).toEqual([how]);
  });

  it.each([
    [CLOSE.silent, "died"],
    [CLOSE.protocol, "died"],
    [CLOSE.notAllowed, "parted"],
    [CLOSE.goingAway, "parted"],
  ])("closed by this side with %i its streams have %s", (code, how) => {
    const pair = linkPair(recorder().events, {});
    const log: unknown[] = [];
    pair.listener.open(call(), { onFail: (_fail, lost) => log.push(lost) });
    pair.listener.close(code, "");
    expect(log).toEqual([how]);
  });

  it("waits for hello no longer than it should, and refuses what comes before it", () => {
    const late = linkPair({}, {}, false);
    late.listener.tick(HELLO_TIMEOUT_MS / 2);
    late.listener.tick(HELLO_TIMEOUT_MS + 1);
    expect(late.closes).toMatchObject([{ end: "listener", code: CLOSE.silent }]);
    const early = linkPair({}, {}, false);
    const batch = new FrameBatch();
    batch.add(KIND.open, 0, 0, 1, 0, encodeOpen(call()));
    early.listener.receive(batch.take(), 0);
    expect(early.closes).toMatchObject([{ end: "listener", code: CLOSE.protocol }]);
  });

  it("tells an incompatible peer who must be upgraded", () => {
    const pair = linkPair({}, {}, false);
    const batch = new FrameBatch();
    batch.add(KIND.hello, 0, 0, 0, 0, packHead("x", { min: 7, max: 9, build: "future", features: [] }));
    pair.listener.receive(batch.take(), 0);
    expect(pair.closes).toMatchObject([
      { code: CLOSE.incompatible, reason: expect.stringContaining("upgrade this side") },
    ]);
  });

  const attack = (frames: (batch: FrameBatch) => void): string => {
    const pair = linkPair({}, recorder().events);
    const batch = new FrameBatch();
    frames(batch);
    pair.listener.receive(batch.take(), 0);
    return pair.closes.map((c) => `${c.end} ${c.code} ${c.reason}`).join();
  };
  const open = encodeOpen(call());
  it.each<[string, (b: FrameBatch) => void, string]>([
    ["a stream of our own parity", (b) => b.add(KIND.open, 0, 0, 2, 0, open), "can't be opened"],
    [
      "a stream id used twice",
      (b) => {
        b.add(KIND.open, 0, 0, 1, 0, open);
        b.add(KIND.open, 0, 0, 1, 0, open);
      },
      "can't be opened",
    ],
    ["a chunk of a stream that never was", (b) => b.add(KIND.chunk, 0, 0, 9, 0), "never opened"],
    [
      "a gap in the sequence",
      (b) => {
        b.add(KIND.open, 0, 0, 1, 0, open);
        b.add(KIND.chunk, 0, 0, 1, 1);
      },
      "Chunk 1 came where 0 was due",
    ],
    [
      "a chunk after end",
      (b) => {
        b.add(KIND.open, 0, 0, 1, 0, open);
        b.add(KIND.end, 0, 0, 1, 0);
        b.add(KIND.chunk, 0, 0, 1, 0);
      },
      "after end",
    ],
    [
      "accept from the opener",
      (b) => {
        b.add(KIND.open, 0, 0, 1, 0, open);
        b.add(KIND.accept, 0, 0, 1, 0);
      },
      "from the side that opened",
    ],
    [
      "credit beyond the window",
      (b) => {
        b.add(KIND.open, 0, 0, 1, 0, open);
        b.add(KIND.credit, 0, 0, 1, 1);
      },
      "More credit",
    ],
    ["link credit beyond the window", (b) => b.add(KIND.credit, 0, 0, 0, 1), "More credit"],
    ["an open head that isn't one", (b) => b.add(KIND.open, 0, 0, 1, 0, packHead("x", ["call"])), "Malformed open"],
    [
      "an unknown chunk type",
      (b) => {
        b.add(KIND.open, 0, 0, 1, 0, open);
        b.add(KIND.chunk, 3, 0, 1, 0);
      },
      "no known payload type",
    ],
    ["a second hello", (b) => b.add(KIND.hello, 0, 0, 0, 0), "not for the link"],
  ])("closes on %s", (_name, frames, expected) => {
    const closed = attack(frames);
    expect(closed).toContain(`listener ${CLOSE.protocol}`);
    expect(closed).toContain(expected);
  });

  it("drops frames of another epoch", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const batch = new FrameBatch();
    batch.add(KIND.open, 0, 2, 1, 0, encodeOpen(call({ epoch: 2 })));
    batch.add(KIND.chunk, 1, 1, 1, 0, new TextEncoder().encode("old"));
    batch.add(KIND.chunk, 1, 2, 1, 0, new TextEncoder().encode("new"));
    pair.listener.receive(batch.take(), 0);
    expect(peer.log).toEqual(["open call r", "text new"]);
    expect(pair.closes).toEqual([]);
  });

  it("an exception of its owner closes the link instead of crossing it", () => {
    const pair = linkPair(
      {},
      {
        onStream: () => {
          throw new TypeError("owner's bug");
        },
      },
    );
    pair.dialler.open(call(), {});
    pair.settle();
    expect(pair.closes[0]).toMatchObject({ end: "listener", code: 1011 });
    expect(pair.listener).toBeInstanceOf(Link);
  });
});
