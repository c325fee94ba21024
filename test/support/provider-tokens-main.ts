/**
 * A child process for tests: runs one tiny checkpoint on one provider behind a real engine thread and prints, as one JSON line, what
 * it generated. A process of its own because SwiftShader must be in the environment before the start.
 * argv: GGUF file, cache directory, provider, JSON list of requests.
 */
import { EngineClient, type GenerateRequest, type ProviderName } from "../../engine/index.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";

export interface ProviderRun {
  readonly provider: string;
  readonly notes: readonly string[];
  readonly stages: readonly string[];
  readonly answers: readonly { readonly text: string; readonly tokens: readonly number[] }[];
  /** Of the probe. */
  readonly providers: readonly string[];
}

async function main([file, cache, provider, requests]: readonly string[]): Promise<ProviderRun> {
  const target = provider as ProviderName;
  const directory = await prepareCached({ file: file!, target, cache: cache!, now: Date.now() });
  const client = await EngineClient.start({
    spawn: spawnNodeEngine,
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  });
  const { providers } = await client.probe({ allowSoftwareGpu: true });
  const stages: string[] = [];
  const model = await client.load(
    {
      prepared: { [target]: { directory } },
      provider: target,
      threads: 1,
      slots: 3,
      slotLength: 448,
      allowSoftwareGpu: true,
    },
    ({ stage }) => stages.push(stage),
  );
  const answers = await Promise.all(
    (JSON.parse(requests!) as GenerateRequest[]).map(async (request) => {
      const answer = { text: "", tokens: [] as number[] };
      for await (const { text, tokens } of client.generate(request)) {
        answer.text += text;
        answer.tokens.push(...tokens);
      }
      return answer;
    }),
  );
  await client.close();
  return { provider: model.provider, notes: model.notes, stages, answers, providers };
}

if (import.meta.main) console.log(JSON.stringify(await main(process.argv.slice(2))));
