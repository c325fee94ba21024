import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameBatch, KIND } from "../../protocol/frame.ts";
import { encodeOpen, packHead, type OpenHead } from "../../protocol/heads.ts";
import { FRAME_PAYLOAD_MAX, HELLO_TIMEOUT_MS, LINK_SILENCE_MAX_MS, LINK_WINDOW, PING_INTERVAL_MS, STREAM_WINDOW } from "../../protocol/limits.ts";
import { CLOSE, Link } from "../../protocol/link.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import { linkPair } from "../support/link-pair.ts";

const call = (over: Partial<OpenHead> = {}): OpenHead =>
  ({ kind: "call", app: "a", deployment: "D", method: "m", stream: false, requestId: "r", deadlineMs: null, epoch: 0, hops: 0, model: "", ...over }) as OpenHead;

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A listener that records what its streams are told. */
function recorder(): { streams: Stream[]; log: string[]; events: { onStream: (s: Stream, h: OpenHead, ended: boolean) => StreamEvents } } {
  const streams: Stream[] = [];
  const log: string[] = [];
  return {
    streams,
    log,
    events: {
      onStream(stream, head, ended) {
        streams.push(stream);
        log.push(`open ${head.kind} ${head.requestId}${ended ? " ended" : ""}`);
        return {
          onChunk: (payload, type, more, charge) => {
            log.push(`${type} ${text(payload).slice(0, 20)}${more ? "…" : ""}`);
            stream.consumed(charge);
          },
          onEnd: () => log.push("end"),
          onFail: (fail, lost) => log.push(`fail ${fail.code}${lost ? " lost" : ""}`),
          onCancel: (reason) => log.push(`cancel ${reason}`),
        };
      },
    },
  };
}

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
    pair.dialler.open(call(), { onBusy: (load) => log.push(`busy ${load}`), onFail: () => log.push("fail"), onEnd: () => log.push("end") }, true);
    pair.settle();
    expect(peer.log).toEqual(["open call r ended"]);
    peer.streams[0]!.busy();
    peer.streams[0]!.writeText("late");
    pair.settle();
    expect(log).toEqual(["busy 0"]);
    expect(pair.listener.streams).toBe(0);
  });

  it("cancel ends the other side's work; frames already under way are dropped and their credit comes back", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    // Far more than a link's window in all: it only goes on if dropped chunks are given back.
    for (let i = 0; i < 40; i++) {
      const stream = pair.dialler.open(call(), { onChunk: () => {} }, true);
      pair.settle();
      const acceptor = peer.streams.at(-1)!;
      acceptor.write("bytes", new Uint8Array(STREAM_WINDOW));
      stream.cancel("gone");
      pair.settle();
      expect(acceptor.closed).toBe(true);
      expect(peer.log.at(-1)).toBe("cancel gone");
    }
    let got = 0;
    const last = pair.dialler.open(call(), {
      onChunk: (p, _t, _m, charge) => {
        got += p.byteLength;
        last.consumed(charge);
      },
    }, true);
    pair.settle();
    peer.streams.at(-1)!.write("bytes", new Uint8Array(STREAM_WINDOW * 4));
    pair.settle();
    expect(got).toBe(STREAM_WINDOW * 4);
  });

  it("a reader that doesn't consume stops the writer at the stream's window, not its neighbour", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    let stalled = 0;
    pair.dialler.open(call(), { onChunk: (p) => (stalled += p.byteLength) }, true);
    let flowing = 0;
    const neighbour = pair.dialler.open(call(), {
      onChunk: (p, _t, _m, charge) => {
        flowing += p.byteLength;
        neighbour.consumed(charge);
      },
    }, true);
    pair.settle();
    const big = new Uint8Array(10 * STREAM_WINDOW);
    expect(peer.streams[0]!.write("bytes", big)).toBe(false);
    expect(peer.streams[1]!.write("bytes", big)).toBe(false);
    pair.settle();
    expect(stalled).toBeLessThanOrEqual(STREAM_WINDOW);
    expect(stalled).toBeGreaterThan(STREAM_WINDOW - 2 * FRAME_PAYLOAD_MAX);
    expect(flowing).toBe(big.byteLength);
    expect(() => peer.streams[0]!.write("bytes", big)).not.toThrow();
    expect(() => peer.streams[0]!.write("bytes", big)).toThrow("without waiting");
  });

  it("streams whose readers park what they got and never consume it don't hold up a neighbour", () => {
    const count = 2 * (LINK_WINDOW / STREAM_WINDOW);
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    let parked = 0;
    for (let i = 0; i < count; i++) {
      const stream: Stream = pair.dialler.open(call(), {
        onChunk: (bytes, _type, _more, charge) => {
          parked += bytes.byteLength;
          stream.parked(charge);
        },
      }, true);
    }
    pair.settle();
    for (const stream of peer.streams) stream.write("bytes", new Uint8Array(2 * STREAM_WINDOW));
    pair.settle();
    expect(parked).toBeGreaterThan(LINK_WINDOW);
    expect(parked).toBeLessThanOrEqual(count * STREAM_WINDOW);
    let healthy = 0;
    const neighbour: Stream = pair.dialler.open(call(), {
      onChunk: (bytes, _type, _more, charge) => {
        healthy += bytes.byteLength;
        neighbour.parked(charge);
        neighbour.consumed(charge);
      },
    }, true);
    pair.settle();
    peer.streams.at(-1)!.write("bytes", new Uint8Array(3 * STREAM_WINDOW));
    pair.settle();
    expect(healthy).toBe(3 * STREAM_WINDOW);
    expect(pair.dialler.held).toBe(0);
  });

  it("many stalled streams together stop at the link's window, and all go on when it opens", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const held: { stream: Stream; charge: number }[] = [];
    let got = 0;
    const opened = Array.from({ length: 40 }, () => {
      const stream: Stream = pair.dialler.open(call(), {
        onChunk: (p, _t, _m, charge) => {
          got += p.byteLength;
          held.push({ stream, charge });
        },
      }, true);
      return stream;
    });
    pair.settle();
    for (const stream of peer.streams) stream.write("bytes", new Uint8Array(STREAM_WINDOW));
    pair.settle();
    expect(got).toBeLessThanOrEqual(LINK_WINDOW);
    let rounds = 0;
    while (held.length > 0) {
      for (const { stream, charge } of held.splice(0)) stream.consumed(charge);
      pair.settle();
      expect(++rounds).toBeLessThan(100);
    }
    expect(got).toBe(opened.length * STREAM_WINDOW);
  });

  it("a long piece is split and marked, a failure comes after what was written", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const log: string[] = [];
    const stream = pair.dialler.open(call(), {
      onChunk: (p, type, more, charge) => {
        log.push(`${type} ${p.byteLength}${more ? "…" : ""}`);
        stream.consumed(charge);
      },
      onFail: (fail, lost) => log.push(`${fail.code} ${fail.message} ${lost}`),
    }, true);
    pair.settle();
    peer.streams[0]!.write("value", new Uint8Array(STREAM_WINDOW + 5));
    peer.streams[0]!.fail({ code: "APPLICATION_ERROR", message: "boom" });
    pair.settle();
    expect(log).toEqual([...Array(4).fill(`value ${FRAME_PAYLOAD_MAX}…`), "value 5", "APPLICATION_ERROR boom false"]);
  });

  it("a broken link loses its streams, once", () => {
    const peer = recorder();
    const pair = linkPair({}, peer.events);
    const log: string[] = [];
    pair.dialler.open(call(), { onFail: (f, lost) => log.push(`${f.code} ${lost}`) });
    pair.settle();
    pair.dialler.closed(1006, "");
    pair.dialler.closed(1006, "");
    expect(log).toEqual(["REPLICA_DIED true"]);
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
    pair.dialler.tick(pair.now + LINK_SILENCE_MAX_MS + 600);
    pair.listener.tick(pair.now + LINK_SILENCE_MAX_MS + 600);
    expect(pair.closes.map((c) => c.code)).toEqual([CLOSE.silent, CLOSE.silent]);
  });

  it("waits for hello no longer than it should, and refuses what comes before it", () => {
    const late = linkPair({}, {}, false);
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
    expect(pair.closes).toMatchObject([{ code: CLOSE.incompatible, reason: expect.stringContaining("upgrade this side") }]);
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
    ["a stream id used twice", (b) => { b.add(KIND.open, 0, 0, 1, 0, open); b.add(KIND.open, 0, 0, 1, 0, open); }, "can't be opened"],
    ["a chunk of a stream that never was", (b) => b.add(KIND.chunk, 0, 0, 9, 0), "never opened"],
    ["a gap in the sequence", (b) => { b.add(KIND.open, 0, 0, 1, 0, open); b.add(KIND.chunk, 0, 0, 1, 1); }, "Chunk 1 came where 0 was due"],
    ["a chunk after end", (b) => { b.add(KIND.open, 0, 0, 1, 0, open); b.add(KIND.end, 0, 0, 1, 0); b.add(KIND.chunk, 0, 0, 1, 0); }, "after end"],
    ["accept from the opener", (b) => { b.add(KIND.open, 0, 0, 1, 0, open); b.add(KIND.accept, 0, 0, 1, 0); }, "from the side that opened"],
    ["credit beyond the window", (b) => { b.add(KIND.open, 0, 0, 1, 0, open); b.add(KIND.credit, 0, 0, 1, 1); }, "More credit"],
    ["link credit beyond the window", (b) => b.add(KIND.credit, 0, 0, 0, 1), "More credit"],
    ["an open head that isn't one", (b) => b.add(KIND.open, 0, 0, 1, 0, packHead("x", ["call"])), "Malformed open"],
    ["an unknown chunk type", (b) => { b.add(KIND.open, 0, 0, 1, 0, open); b.add(KIND.chunk, 3, 0, 1, 0); }, "no known payload type"],
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

  it("keeps every stream whole, in order and within its windows, whatever the schedule", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 0, max: 3 * FRAME_PAYLOAD_MAX }), { maxLength: 12 }), { minLength: 1, maxLength: 8 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 7 })),
        (plans, dice) => {
          const roll = (): number => dice.next().value ?? 0;
          const acceptors: Stream[] = [];
          const pair = linkPair({}, { onStream: (stream) => (acceptors.push(stream), {}) });
          const got = plans.map(() => ({ bytes: 0, sum: 0, ended: false, held: [] as number[] }));
          const openers = plans.map((_, i) =>
            pair.dialler.open(call({ requestId: String(i) }), {
              onChunk: (p, _t, _m, charge) => {
                const g = got[i]!;
                for (const byte of p) g.sum = (g.sum * 31 + byte) >>> 0;
                g.bytes += p.byteLength;
                g.held.push(charge);
              },
              onEnd: () => (got[i]!.ended = true),
            }, true),
          );
          pair.settle();
          const sent = plans.map(() => ({ bytes: 0, sum: 0, at: 0 }));
          for (let turn = 0; turn < 100_000; turn++) {
            let moved = false;
            plans.forEach((plan, i) => {
              const s = sent[i]!;
              const acceptor = acceptors[i]!;
              if (roll() < 4 && s.at <= plan.length && acceptor.writable) {
                moved = true;
                if (s.at === plan.length) acceptor.end();
                else {
                  const bytes = Uint8Array.from({ length: plan[s.at]! }, (_, k) => (k * 7 + i + s.at) & 255);
                  for (const byte of bytes) s.sum = (s.sum * 31 + byte) >>> 0;
                  s.bytes += bytes.byteLength;
                  acceptor.write("bytes", bytes);
                }
                s.at++;
              }
              const g = got[i]!;
              if (roll() < 4 && g.held.length > 0) openers[i]!.consumed(g.held.shift()!);
            });
            if (pair.step(() => roll() < 4)) moved = true;
            if (pair.inFlight() > LINK_WINDOW + 1_000_000) throw new Error("more in flight than windows allow");
            if (!moved && got.every((g) => g.ended)) break;
          }
          expect(pair.closes).toEqual([]);
          expect(got.map((g) => [g.bytes, g.sum, g.ended])).toEqual(sent.map((s) => [s.bytes, s.sum, true]));
        },
      ),
      { numRuns: 25 },
    );
  });

  it("an exception of its owner closes the link instead of crossing it", () => {
    const pair = linkPair({}, { onStream: () => { throw new TypeError("owner's bug"); } });
    pair.dialler.open(call(), {});
    pair.settle();
    expect(pair.closes[0]).toMatchObject({ end: "listener", code: 1011 });
    expect(pair.listener).toBeInstanceOf(Link);
  });
});
