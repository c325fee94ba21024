import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { FRAME_HEADER, FrameBatch, HEADROOM, KIND, decodeFrames, type Kind } from "../../protocol/frame.ts";
import { FRAME_PAYLOAD_MAX, LINK_MESSAGE_MAX } from "../../protocol/limits.ts";

const frameArbitrary = fc.record({
  kind: fc.constantFrom(...(Object.values(KIND) as Kind[])),
  flags: fc.integer({ min: 0, max: 255 }),
  epoch: fc.integer({ min: 0, max: 0xffff }),
  stream: fc.integer({ min: 0, max: 0xffffffff }),
  value: fc.integer({ min: 0, max: 0xffffffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

describe("frames", () => {
  it("come out as they went in, any number in one message", () => {
    fc.assert(
      fc.property(fc.array(frameArbitrary, { maxLength: 60 }), (frames) => {
        const batch = new FrameBatch();
        for (const f of frames) batch.add(f.kind, f.flags, f.epoch, f.stream, f.value, f.payload);
        const seen: typeof frames = [];
        decodeFrames(batch.take(), (f) => seen.push({ ...f, payload: f.payload.slice() }));
        expect(seen).toEqual(frames);
        expect(batch.length).toBe(0);
      }),
    );
  });

  it("of a batch stay as they were taken, with free room in front of each message", () => {
    fc.assert(
      fc.property(fc.array(fc.array(frameArbitrary, { maxLength: 20 }), { maxLength: 40 }), (turns) => {
        const batch = new FrameBatch();
        const messages = turns.map((frames) => {
          for (const f of frames) batch.add(f.kind, f.flags, f.epoch, f.stream, f.value, f.payload);
          return { frames, message: batch.take() };
        });
        for (const { frames, message } of messages) {
          if (frames.length === 0) continue;
          expect(message.byteOffset).toBeGreaterThanOrEqual(HEADROOM);
          // Whoever sends a message writes there.
          new Uint8Array(message.buffer, message.byteOffset - HEADROOM, HEADROOM).fill(0xee);
        }
        for (const { frames, message } of messages) {
          const seen: typeof frames = [];
          decodeFrames(message, (f) => seen.push({ ...f, payload: f.payload.slice() }));
          expect(seen).toEqual(frames);
        }
      }),
    );
  });

  const message = (edit: (bytes: Uint8Array, view: DataView) => void, payload = new Uint8Array(10)): Uint8Array => {
    const batch = new FrameBatch();
    batch.add(KIND.chunk, 0, 0, 1, 0, payload);
    const bytes = batch.take().slice();
    edit(bytes, new DataView(bytes.buffer));
    return bytes;
  };

  it.each([
    ["an unknown kind", message((b) => (b[0] = 99)), "unknown kind 99"],
    ["kind 0", message((b) => (b[0] = 0)), "unknown kind 0"],
    [
      "a payload longer than a frame may be",
      message((_, v) => v.setUint32(12, FRAME_PAYLOAD_MAX + 1, true)),
      "the limit is",
    ],
    ["a payload cut short", message((_, v) => v.setUint32(12, 11, true)), "cut short"],
    ["a header cut short", message(() => {}).subarray(0, FRAME_HEADER - 1), "a header is cut short"],
    ["a message that is too long", new Uint8Array(LINK_MESSAGE_MAX + 1), "a message of"],
  ])("refuse %s", (_name, bytes, expected) => {
    expect(() => decodeFrames(bytes, () => {})).toThrow(expected);
  });

  it("never crash on noise: it is refused or read, nothing else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        try {
          decodeFrames(bytes, (f) => expect(f.payload.byteLength).toBeLessThanOrEqual(FRAME_PAYLOAD_MAX));
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: "PROTOCOL" });
        }
      }),
      { numRuns: 2000 },
    );
  });
});
