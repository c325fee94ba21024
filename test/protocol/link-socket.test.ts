/** Frames written past `ws` are read by `ws`, from both sides, in every size class of RFC 6455 5.2, between frames of its own. */
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { createServer } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FrameBatch, KIND, decodeFrames } from "../../protocol/frame.ts";
import { writeMessage } from "../../protocol/node/link-socket.ts";

const http = createServer();
const sockets = new WebSocketServer({ noServer: true });
let near: { connection: WebSocket; raw: Duplex };
let far: { connection: WebSocket; raw: Duplex };

beforeAll(async () => {
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const accepted = new Promise<typeof far>((resolve) =>
    http.once("upgrade", (request, raw, first) =>
      sockets.handleUpgrade(request, raw, first, (connection) => resolve({ connection, raw })),
    ),
  );
  const connection = new WebSocket(`ws://127.0.0.1:${(http.address() as { port: number }).port}`);
  const upgraded = new Promise<Duplex>((resolve) => connection.once("upgrade", (response) => resolve(response.socket)));
  near = { connection, raw: await upgraded };
  far = await accepted;
});
afterAll(() => {
  near.connection.terminate();
  http.close();
});

/** A message of exactly `length` bytes, 16 of them a frame's header; zeros and a payload that counts. */
function messages(lengths: readonly number[]): Uint8Array[] {
  const batch = new FrameBatch();
  return lengths.map((length) => {
    for (let left = length; left > 0;) {
      const payload = Math.min(left - 16, 60_000);
      // A rest too small for a header goes with this frame.
      const size = left - 16 - payload < 16 ? left - 16 : payload;
      batch.add(
        KIND.chunk,
        0,
        1,
        3,
        left,
        Uint8Array.from({ length: size }, (_, i) => (i * 7 + length) & 0xff),
      );
      left -= 16 + size;
    }
    return batch.take();
  });
}

describe("a message with its header in one write", () => {
  it.each([
    ["from the side that dialled", true],
    ["from the side that listens", false],
  ])("%s", async (_name, masked) => {
    const [from, to] = masked ? [near, far] : [far, near];
    const sent = messages([16, 125, 126, 127, 300, 65_535, 65_536, 200_000, 16]);
    const expected = sent.map((message) => message.slice());
    const got: Uint8Array[] = [];
    const all = new Promise<void>((resolve) =>
      to.connection.on("message", (data, isBinary) => {
        expect(isBinary).toBe(true);
        got.push(new Uint8Array(data as Buffer));
        if (got.length === expected.length) resolve();
      }),
    );
    for (const message of sent) {
      writeMessage(from.raw, message, masked);
      from.connection.ping();
    }
    await all;
    expect(got.map((bytes) => Buffer.from(bytes))).toEqual(expected.map((bytes) => Buffer.from(bytes)));
    let frames = 0;
    for (const bytes of got) decodeFrames(bytes, () => (frames += 1));
    expect(frames).toBeGreaterThanOrEqual(expected.length);
  });

  it("is refused without room for the header", () => {
    expect(() => writeMessage(near.raw, new Uint8Array(20), true)).toThrow("without room in front");
  });

  it("is dropped by a socket that has ended", () => {
    const { raw } = near;
    raw.end();
    expect(() => writeMessage(raw, messages([16])[0]!, true)).not.toThrow();
  });
});
