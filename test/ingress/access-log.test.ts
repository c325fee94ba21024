import { describe, expect, it } from "vitest";
import { AccessLog } from "../../ingress/access-log.ts";
import type { Finished } from "../../ingress/http/context.ts";

const request = (requestId: string, more: Partial<Finished> = {}): Finished => ({
  requestId,
  method: "GET",
  route: "/",
  app: "app",
  deployment: "D",
  status: 200,
  ms: 1.25,
  log: true,
  isError: false,
  ...more,
});
const TIME = "2026-01-01T00:00:00.000Z";

/** A sink that takes a batch when the test says so. */
function slowSink(): { text: string; take: () => void; write: (lines: Uint8Array) => Promise<void> } {
  const sink = {
    text: "",
    take: () => {},
    write: (lines: Uint8Array) =>
      new Promise<void>((resolve) => {
        sink.take = () => {
          sink.text += new TextDecoder().decode(lines);
          resolve();
        };
      }),
  };
  return sink;
}

describe("the access log", () => {
  it("writes a line for each request, in Ray's form or as JSON, with whatever characters an id has", async () => {
    const sink = slowSink();
    const log = new AccessLog(sink.write);
    log.add(request("grün-€-😀"), TIME);
    log.add(request("hidden", { log: false }), TIME);
    log.encoding = "JSON";
    log.add(request("b", { status: 404 }), TIME);
    const flushed = log.flush();
    sink.take();
    await flushed;
    const [first, second, ...rest] = sink.text.trimEnd().split("\n");
    expect(first).toBe(`INFO ${TIME} ingress app grün-€-😀 -- GET / 200 1.3ms`);
    expect(JSON.parse(second!)).toMatchObject({ request_id: "b", status: 404, latency_ms: 1.3, application: "app" });
    expect(rest).toEqual([]);
  });

  it("keeps what comes while a batch is written apart from it", async () => {
    const sink = slowSink();
    const log = new AccessLog(sink.write);
    for (let round = 0; round < 5; round += 1) {
      for (let i = 0; i < 400; i += 1) log.add(request(`r${round}-${i}`), TIME);
      const flushed = log.flush();
      log.add(request(`late${round}`), TIME);
      sink.take();
      await flushed;
    }
    const ids = [...sink.text.matchAll(/app (\S+) --/g)].map((match) => match[1]);
    const expected = [0, 1, 2, 3, 4].flatMap((round) => [
      ...(round > 0 ? [`late${round - 1}`] : []),
      ...Array.from({ length: 400 }, (_, i) => `r${round}-${i}`),
    ]);
    expect(ids).toEqual(expected);
  });

  it("drops and counts lines when the sink is slow, and says how many", async () => {
    const sink = slowSink();
    const log = new AccessLog(sink.write);
    for (let i = 0; i < 30_000; i += 1) log.add(request(`r${i}`), TIME);
    const dropped = log.dropped;
    expect(dropped).toBeGreaterThan(0);
    const flushed = log.flush();
    sink.take();
    await flushed;
    expect(sink.text.split("\n").length - 2).toBe(30_000 - dropped);
    expect(sink.text).toContain(`WARNING ${dropped} access log lines were dropped`);
  });
});
