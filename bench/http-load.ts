/** Load on an HTTP port: wrk where it is installed (a generator in Node takes as much CPU as what it measures), else plain sockets. */
import { execFile, execFileSync } from "node:child_process";
import net from "node:net";
import { CHUNK_BYTES } from "./http-chunk.ts";

export interface UnaryResult {
  readonly perSecond: number;
  /** ms */
  readonly p50: number;
  readonly p99: number;
}

export const generator: "wrk" | "node" = (() => {
  try {
    execFileSync("wrk", ["-v"], { stdio: "ignore" });
    return "wrk";
  } catch (error) {
    // wrk -v prints its version and exits 1.
    return (error as { status?: number }).status === 1 ? "wrk" : "node";
  }
})();

export const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;

export const unary = (port: number, clients: number, seconds: number, path = "/"): Promise<UnaryResult> =>
  generator === "wrk" ? byWrk(port, clients, seconds, path) : bySockets(port, clients, seconds, path);

function byWrk(port: number, clients: number, seconds: number, path: string): Promise<UnaryResult> {
  const unit = { us: 0.001, ms: 1, s: 1000 } as const;
  return new Promise((resolve, reject) => {
    execFile(
      "wrk",
      ["-t1", `-c${clients}`, `-d${seconds}s`, "--latency", `http://127.0.0.1:${port}${path}`],
      (error, out) => {
        if (error !== null) return reject(error);
        if (out.includes("Non-2xx")) return reject(new Error(`not all answers were 200:\n${out}`));
        const at = (name: string): number => {
          const [, value, u] = new RegExp(`${name}%\\s+([\\d.]+)(us|ms|s)`).exec(out)!;
          return Number(value) * unit[u as keyof typeof unit];
        };
        resolve({ perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)![1]), p50: at("50"), p99: at("99") });
      },
    );
  });
}

async function bySockets(port: number, clients: number, seconds: number, path: string): Promise<UnaryResult> {
  const times: number[] = [];
  const until = performance.now() + seconds * 1000;
  const request = `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;
  await Promise.all(
    Array.from(
      { length: clients },
      () =>
        new Promise<void>((resolve, reject) => {
          let began = 0;
          const socket = net.connect(port, "127.0.0.1", () => next());
          const next = (): void => {
            began = performance.now();
            if (began > until) socket.end();
            else socket.write(request);
          };
          socket.setNoDelay(true);
          // A small answer comes in one piece.
          socket.on("data", () => {
            times.push(performance.now() - began);
            next();
          });
          socket.on("close", () => resolve()).on("error", reject);
        }),
    ),
  );
  return { perSecond: times.length / seconds, p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

export interface StreamResult {
  readonly perSecond: number;
  /** From writing the request to the first chunk, ms. */
  readonly firstChunk: readonly number[];
  /** From making a chunk to having it, ms. */
  readonly delays: readonly number[];
}

/** Reads `streams` streams of `n` chunks at once and checks every chunk's number. */
export async function streams(port: number, count: number, n: number, ms: number): Promise<StreamResult> {
  const firstChunk: number[] = [];
  const delays: number[] = [];
  const began = performance.now();
  await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<void>((resolve, reject) => {
          let sent = 0;
          let next = 0;
          let rest = "";
          const socket = net.connect(port, "127.0.0.1", () => {
            sent = performance.now();
            socket.write(`GET /stream?n=${n}&ms=${ms} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`);
          });
          socket.setEncoding("latin1");
          socket.on("data", (data: string) => {
            const now = process.hrtime.bigint();
            const text = rest + data;
            let from = 0;
            for (let at = text.indexOf(` `, 0); ;) {
              const found = /(\d{7}) (\d{19})\n/y;
              found.lastIndex = at - 7;
              const match = at < 7 ? null : found.exec(text);
              if (match !== null) {
                if (next === 0) firstChunk.push(performance.now() - sent);
                if (Number(match[1]) !== next) return reject(new Error(`chunk ${match[1]} came where ${next} was due`));
                next += 1;
                if (ms > 0) delays.push(Number(now - BigInt(match[2]!)) / 1e6);
                from = found.lastIndex;
              }
              at = text.indexOf(" ", Math.max(at + 1, from));
              if (at < 0 || text.length - at < 21) break;
            }
            rest = text.slice(Math.max(from, text.length - CHUNK_BYTES - 16));
          });
          socket
            .on("close", () => (next === n ? resolve() : reject(new Error(`${next} of ${n} chunks came`))))
            .on("error", reject);
        }),
    ),
  );
  return { perSecond: (count * n) / ((performance.now() - began) / 1000), firstChunk, delays };
}
