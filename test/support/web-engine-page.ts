/** The page of `web-thread.test.ts`: makes the tiny model in the tab, runs it in the engine's worker, hands out what it generated. */
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { EngineClient, type GenerateRequest, type ProviderName } from "../../engine/index.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { webEngineThread } from "../../engine/spawn-web.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

export interface WebRun {
  readonly provider: string;
  readonly providers: readonly string[];
  readonly answers: readonly (readonly number[])[];
  readonly cancelled: string;
}

async function run(provider: ProviderName, requests: readonly GenerateRequest[]): Promise<WebRun> {
  const model = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: provider });
  const client = await EngineClient.start({
    spawn: () => webEngineThread(new Worker("/engine.js", { type: "module" })),
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  });
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

Object.assign(globalThis, { run });
