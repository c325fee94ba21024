/** Area metrics: what coordinator and ingress export in Prometheus's form, under Ray's names with another prefix. */
import type { IngressAddress } from "../../../protocol/control.ts";
import type { Replay } from "../replay.ts";

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const ours = (name: string): string => name.replace("ray_serve_", "skein_");

function samplesOf(text: string): Sample[] {
  return [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name = "", labels = "", value]) => ({
    name,
    labels: Object.fromEntries(
      [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text = ""]) => [key, text]),
    ),
    value: Number(value),
  }));
}

/** The head's ingress, at its mesh port. */
async function ingressMetrics({ mesh }: Replay): Promise<string> {
  const { ingresses } = JSON.parse((await mesh.api("POST", "/api/skein/callers")).text) as {
    ingresses: IngressAddress[];
  };
  const url = ingresses[0]!.urls[0]!.replace(/^ws/, "http").replace(/\/link$/, "/metrics");
  return (await fetch(url)).text();
}

/** C179: states as numbers. */
export async function statusGauges(replay: Replay): Promise<void> {
  const samples = samplesOf((await replay.mesh.api("GET", "/metrics")).text);
  for (const { name, labels, value } of replay.observed<{ gauges: Sample[] }>(0).gauges) {
    const found = samples.find(({ labels: { node_id: _, ...seen }, ...sample }) => {
      return sample.name === ours(name) && JSON.stringify(seen) === JSON.stringify(labels);
    });
    replay.json(0, name, value, found?.value);
  }
}

/** X-MET-01: families with their type and labels. */
export async function families(replay: Replay): Promise<void> {
  await replay.get("/echo");
  await replay.get("/nowhere");
  const text = await ingressMetrics(replay);
  const samples = samplesOf(text);
  for (const { name, type, labels } of replay.observed<{
    families: { name: string; type: string; labels: string[] }[];
  }>(0).families) {
    const family = type === "counter" ? ours(name).replace(/_total$/, "") : ours(name);
    const got = new RegExp(`^# TYPE ${family}(?:_total)? (\\w+)$`, "m").exec(text)?.[1];
    const of = samples.filter((sample) => sample.name.startsWith(family) && !/_(sum|count)$/.test(sample.name));
    const seen = [...new Set(of.flatMap((sample) => Object.keys(sample.labels)))].sort();
    replay.json(
      0,
      name,
      { type, labels },
      got === undefined ? undefined : { type: got, labels: of.length === 0 ? labels : seen },
    );
  }
}

/** X-MET-06: bounds of histograms, ms. */
export async function buckets(replay: Replay): Promise<void> {
  await replay.get("/echo");
  const samples = samplesOf(await ingressMetrics(replay));
  for (const [name, bounds] of Object.entries(replay.observed<{ le: Record<string, string[]> }>(0).le)) {
    const seen = new Set(
      samples.filter((sample) => sample.name === `${ours(name)}_bucket`).map(({ labels }) => labels["le"]),
    );
    replay.json(0, name, bounds.map(Number).join(" "), seen.size === 0 ? undefined : [...seen].map(Number).join(" "));
  }
}
