/** Flow control from a client's socket to a handler and back: with real sockets. */
import { createHash } from "node:crypto";
import http from "node:http";
import net from "node:net";
import { describe, expect, it } from "vitest";
import { MIB, STREAM_WINDOW } from "../../protocol/limits.ts";
import type { Stream } from "../../protocol/stream.ts";
import { raw } from "./running.ts";
import { get, one } from "./opened.ts";

/** Writes `size` bytes as fast as credit allows. */
function pour(stream: Stream, size: number, done: () => void): () => void {
  let left = size;
  const piece = new Uint8Array(64 * 1024).fill(97);
  const more = (): void => {
    while (left > 0) {
      const next = left < piece.byteLength ? piece.subarray(0, left) : piece;
      left -= next.byteLength;
      if (!stream.write("bytes", next)) return;
    }
    if (!stream.closed) done();
  };
  return more;
}

describe("flow control", () => {
  it("a client that doesn't read stops the handler within the windows, and another one notices nothing", async () => {
    let produced = 0;
    const running = await one((stream, head) => {
      stream.accept();
      stream.head({ status: 200, headers: [] });
      if (head.kind === "http" && head.path === "/small") {
        stream.end();
        return {};
      }
      const write = (): void => {
        do produced += 8_192;
        while (stream.write("bytes", new Uint8Array(8_192)));
      };
      setImmediate(write);
      return { onWritable: write };
    });
    const socket = net.connect(running.port, "127.0.0.1", () => socket.write(get("/")));
    socket.pause();
    let last = -1;
    for (let quiet = 0; quiet < 10;) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      quiet = produced === last && produced > STREAM_WINDOW / 2 ? quiet + 1 : 0;
      last = produced;
    }
    // The kernel's socket buffers come on top of the window: some megabytes on loopback.
    expect(produced).toBeLessThan(16 * MIB);
    expect(await raw(running.port, get("/small"))).toMatch(/^HTTP\/1.1 200 /);
    socket.destroy();
  });
  it("200 MB down and 200 MB up pass whole, in bounded memory", async () => {
    const size = 200_000_000;
    const hashes = { up: "" };
    const running = await one((stream, head) => {
      stream.accept();
      if (head.kind === "http" && head.method === "GET") {
        stream.head({ status: 200, headers: [] });
        const more = pour(stream, size, () => stream.end());
        setImmediate(more);
        return { onWritable: more };
      }
      const hash = createHash("sha1");
      return {
        onChunk: (payload, _t, _m, charge) => {
          hash.update(payload);
          stream.consumed(charge);
        },
        onEnd: () => {
          hashes.up = hash.digest("hex");
          stream.head({ status: 200, headers: [] });
          stream.end();
        },
      };
    });
    const piece = Buffer.alloc(100_000, 97);
    const whole = createHash("sha1");
    for (let hashed = 0; hashed < size; hashed += piece.byteLength) whole.update(piece);
    const expected = whole.digest("hex");
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 20);
    const down = createHash("sha1");
    await new Promise<void>((resolve, reject) => {
      http
        .get({ port: running.port, host: "127.0.0.1" }, (response) =>
          response.on("data", (d: Buffer) => down.update(d)).on("end", resolve),
        )
        .on("error", reject);
    });
    expect(down.digest("hex")).toBe(expected);
    await new Promise<void>((resolve, reject) => {
      const request = http
        .request(
          { port: running.port, host: "127.0.0.1", method: "POST", headers: { "content-length": size } },
          (response) => response.resume().on("end", resolve),
        )
        .on("error", reject);
      let left = size / piece.byteLength;
      const more = (): void => {
        while (left > 0) {
          left -= 1;
          if (!request.write(piece)) return void request.once("drain", more);
        }
        request.end();
      };
      more();
    });
    clearInterval(watch);
    expect(hashes.up).toBe(expected);
    // Client, ingress and replica share this process; a buffered body alone would be 200 MB.
    expect(peak - before).toBeLessThan(150 * MIB);
  });
});
