/** The page of `web-thread.test.ts`: makes tiny models in the tab, runs them in the engine's worker, hands out what they gave. */
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { EngineClient, type GenerateRequest, type LoadedGraph, type ProviderName } from "../../engine/index.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { makeInMemory, planModel } from "../../engine/prepare-any.ts";
import { webEngineThread } from "../../engine/spawn-web.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

export interface WebRun {
  readonly provider: string;
  readonly providers: readonly string[];
  readonly answers: readonly (readonly number[])[];
  readonly cancelled: string;
}

const start = (): Promise<EngineClient> =>
  EngineClient.start({
    spawn: () => webEngineThread(new Worker("/engine.js", { type: "module" })),
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  });

async function run(provider: ProviderName, requests: readonly GenerateRequest[]): Promise<WebRun> {
  const model = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: provider });
  const client = await start();
  const { providers } = await client.probe({ allowSoftwareGpu: true });
  const loaded = await client.load({
    prepared: { [provider]: { model } },
    provider,
    threads: 2,
    slots: 3,
    slotLength: 448,
    allowSoftwareGpu: true,
  });
  const answers = await Promise.all(
    requests.map(async (request) => {
      const all: number[] = [];
      for await (const { tokens } of client.generate(request)) all.push(...tokens);
      return all;
    }),
  );
  const left = client.generate({ prompt: "The sea", maxTokens: 400 });
  for await (const { tokens } of left) if (tokens.length > 0) break;
  const { finishReason } = await left.end;
  await client.close();
  return { provider: loaded.provider, providers, answers, cancelled: finishReason };
}

export interface WebGraphRun {
  readonly loaded: LoadedGraph;
  /** Of the texts, or the graph's output `y`. */
  readonly rows: readonly (readonly number[])[];
}

/** Files as base64 by their names. `input`: texts, or matrices of two rows for an input `x`. */
async function runGraph(
  provider: ProviderName,
  files: Readonly<Record<string, string>>,
  entry: string | null,
  input: readonly string[] | readonly (readonly number[])[],
): Promise<WebGraphRun> {
  const contents = new Map(
    Object.entries(files).map(([name, text]) => [name, Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]),
  );
  const open = async (name: string) => contents.get(name) && sourceOfBytes(contents.get(name)!);
  const plan = await planModel({ open }, entry, { target: provider });
  const model = await makeInMemory(plan, async (name) => new Blob([contents.get(name)!]));
  const client = await start();
  const spec = { provider, threads: 2, slots: 1, slotLength: 2, allowSoftwareGpu: true };
  const isText = typeof input[0] === "string";
  const loaded = (await client.open({
    ...spec,
    prepared: { [provider]: { model } },
    warmUp: isText ? [] : [{ x: [2, 2, 2] }],
  })) as LoadedGraph;
  const matrices = input as readonly (readonly number[])[];
  const x = { type: "float32", dims: [input.length, 2, 2], data: Float32Array.from(matrices.flat()) } as const;
  const rows = isText
    ? (await client.embed(input as readonly string[])).vectors
    : [(await client.run({ x }))["y"]!.data as Float32Array];
  await client.close();
  return { loaded, rows: rows.map((row) => [...row]) };
}

Object.assign(globalThis, { run, runGraph });
