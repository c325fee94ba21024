import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { FRAME_PAYLOAD_MAX, LINK_WINDOW, STREAM_WINDOW } from "../../protocol/limits.ts";
import type { Stream } from "../../protocol/stream.ts";
import { linkPair } from "../support/link-pair.ts";
import { call, recorder } from "../support/link-recorder.ts";

describe("flow control of a link", () => {
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
    const last = pair.dialler.open(
      call(),
      {
        onChunk: (p, _t, _m, charge) => {
          got += p.byteLength;
          last.consumed(charge);
        },
      },
      true,
    );
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
    const neighbour = pair.dialler.open(
      call(),
      {
        onChunk: (p, _t, _m, charge) => {
          flowing += p.byteLength;
          neighbour.consumed(charge);
        },
      },
      true,
    );
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
      const stream: Stream = pair.dialler.open(
        call(),
        {
          onChunk: (bytes, _type, _more, charge) => {
            parked += bytes.byteLength;
            stream.parked(charge);
          },
        },
        true,
      );
    }
    pair.settle();
    for (const stream of peer.streams) stream.write("bytes", new Uint8Array(2 * STREAM_WINDOW));
    pair.settle();
    expect(parked).toBeGreaterThan(LINK_WINDOW);
    expect(parked).toBeLessThanOrEqual(count * STREAM_WINDOW);
    let healthy = 0;
    const neighbour: Stream = pair.dialler.open(
      call(),
      {
        onChunk: (bytes, _type, _more, charge) => {
          healthy += bytes.byteLength;
          neighbour.parked(charge);
          neighbour.consumed(charge);
        },
      },
      true,
    );
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
      const stream: Stream = pair.dialler.open(
        call(),
        {
          onChunk: (p, _t, _m, charge) => {
            got += p.byteLength;
            held.push({ stream, charge });
          },
        },
        true,
      );
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
    const stream = pair.dialler.open(
      call(),
      {
        onChunk: (p, type, more, charge) => {
          log.push(`${type} ${p.byteLength}${more ? "…" : ""}`);
          stream.consumed(charge);
        },
        onFail: (fail, lost) => log.push(`${fail.code} ${fail.message} ${lost}`),
      },
      true,
    );
    pair.settle();
    peer.streams[0]!.write("value", new Uint8Array(STREAM_WINDOW + 5));
    peer.streams[0]!.fail({ code: "APPLICATION_ERROR", message: "boom" });
    pair.settle();
    expect(log).toEqual([...Array(4).fill(`value ${FRAME_PAYLOAD_MAX}…`), "value 5", "APPLICATION_ERROR boom null"]);
  });

  it("keeps every stream whole, in order and within its windows, whatever the schedule", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 0, max: 3 * FRAME_PAYLOAD_MAX }), { maxLength: 12 }), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.infiniteStream(fc.integer({ min: 0, max: 7 })),
        (plans, dice) => {
          const roll = (): number => dice.next().value ?? 0;
          const acceptors: Stream[] = [];
          const pair = linkPair({}, { onStream: (stream) => (acceptors.push(stream), {}) });
          const got = plans.map(() => ({ bytes: 0, sum: 0, ended: false, held: [] as number[] }));
          const openers = plans.map((_, i) =>
            pair.dialler.open(
              call({ requestId: String(i) }),
              {
                onChunk: (p, _t, _m, charge) => {
                  const g = got[i]!;
                  for (const byte of p) g.sum = (g.sum * 31 + byte) >>> 0;
                  g.bytes += p.byteLength;
                  g.held.push(charge);
                },
                onEnd: () => (got[i]!.ended = true),
              },
              true,
            ),
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
});
