/**
 * Counts and latencies of requests by labels, for Prometheus: prom-client hashes the labels of each observation, which takes as long as the
 * rest of a small request's bookkeeping. Here the last series is remembered, others are found by one string; the registry writes them out.
 */
import type { Registry } from "prom-client";

export interface Labels {
  readonly route: string;
  readonly method: string;
  readonly application: string;
  readonly status_code: number | string;
}

class Series {
  readonly labels: Labels;
  count = 0;
  sumMs = 0;
  /** Observations up to each bound, and beyond the last; not added up. */
  readonly buckets: Float64Array;
  constructor(labels: Labels, buckets: number) {
    this.labels = labels;
    this.buckets = new Float64Array(buckets + 1);
  }
  has({ route, method, application, status_code }: Labels): boolean {
    const { labels } = this;
    return (
      labels.route === route &&
      labels.method === method &&
      labels.application === application &&
      labels.status_code === status_code
    );
  }
}

/** A counter and a histogram of the same observations. */
export class RequestSeries {
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, Series>();
  #last: Series | undefined;

  /** @param bounds of the histogram's buckets, ms, rising */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  observe(labels: Labels, ms: number): void {
    const series = this.#last?.has(labels) === true ? this.#last : this.#find(labels);
    series.count += 1;
    series.sumMs += ms;
    let bucket = 0;
    while (bucket < this.#bounds.length && ms > this.#bounds[bucket]!) bucket += 1;
    series.buckets[bucket]! += 1;
  }

  register(
    registry: Registry,
    counter: { name: string; help: string },
    histogram: { name: string; help: string },
  ): void {
    this.#add(registry, counter, "counter", () =>
      [...this.#series.values()].map(({ labels, count }) => ({ labels, value: count })),
    );
    this.#add(registry, histogram, "histogram", () =>
      [...this.#series.values()].flatMap((series) => this.#histogram(histogram.name, series)),
    );
  }

  #find(labels: Labels): Series {
    const key = `${labels.route}\n${labels.method}\n${labels.application}\n${labels.status_code}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      series = new Series({ ...labels }, this.#bounds.length);
      this.#series.set(key, series);
    }
    this.#last = series;
    return series;
  }

  #histogram(name: string, { labels, count, sumMs, buckets }: Series): object[] {
    let below = 0;
    const lines: object[] = this.#bounds.map((le, i) => ({
      labels: { le, ...labels },
      value: (below += buckets[i]!),
      metricName: `${name}_bucket`,
    }));
    return [
      ...lines,
      { labels: { le: "+Inf", ...labels }, value: count, metricName: `${name}_bucket` },
      { labels, value: sumMs, metricName: `${name}_sum` },
      { labels, value: count, metricName: `${name}_count` },
    ];
  }

  #add(registry: Registry, about: { name: string; help: string }, type: string, values: () => object[]): void {
    const metric = { ...about, type, aggregator: "sum", get: async () => ({ ...about, type, values: values() }) };
    registry.registerMetric(metric as unknown as Parameters<Registry["registerMetric"]>[0]);
  }
}
