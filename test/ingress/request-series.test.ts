import fc from "../support/fast-check.ts";
import { Counter, Histogram, Registry } from "prom-client";
import { expect, test } from "vitest";
import { RequestSeries } from "../../ingress/request-series.ts";

const BOUNDS = [1, 5, 100];
const labelNames = ["route", "method", "application", "status_code"];
const about = (name: string): { name: string; help: string } => ({ name, help: `About ${name}.` });

test("what the registry writes is what prom-client's own counter and histogram write", async () => {
  const observation = fc.record({
    route: fc.constantFrom("/", '/a"b\\', ""),
    method: fc.constantFrom("GET", "POST"),
    application: fc.constantFrom("app", "other"),
    status_code: fc.constantFrom<number | string>(200, 500, "OK"),
    ms: fc.oneof(fc.constantFrom(0, 1, 5, 100, 101), fc.double({ min: 0, max: 1_000, noNaN: true })),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(observation, { maxLength: 40 }), async (observations) => {
      const [ours, theirs] = [new Registry(), new Registry()];
      const series = new RequestSeries(BOUNDS);
      series.register(ours, about("requests_total"), about("latency_ms"));
      const counter = new Counter({ ...about("requests_total"), labelNames, registers: [theirs] });
      const histogram = new Histogram({ ...about("latency_ms"), labelNames, buckets: BOUNDS, registers: [theirs] });
      for (const { ms, ...labels } of observations) {
        series.observe(labels, ms);
        counter.inc(labels);
        histogram.observe(labels, ms);
      }
      expect(await ours.metrics()).toBe(await theirs.metrics());
    }),
  );
});
