/**
 * A child process for tests: what threads of the wasm provider cost while nothing runs, and which are left. Prints one JSON line: CPU
 * milliseconds of an idle second, and this process's threads before, with an engine of three, after its release, and after the end of another
 * engine's thread in the middle of its work.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EngineClient } from "../../engine/index.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

export interface ThreadCounts {
  readonly idleCpuMs: number;
  readonly before: number;
  readonly loaded: number;
  readonly released: number;
  readonly terminated: number;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const threads = (): number => readdirSync("/proc/self/task").length;
/** Threads end a moment after they were told. */
async function settled(atMost: number): Promise<number> {
  for (let tries = 0; tries < 100 && threads() > atMost; tries++) await sleep(50);
  return threads();
}

const folder = await mkdtemp(join(tmpdir(), "skein-threads-"));
const file = join(folder, "tiny.gguf");
await writeFile(file, makeTinyGguf({ format: "Q8_0" }).bytes);
const directory = await prepareCached({ file, target: "wasm", cache: folder, now: Date.now() });

async function start(): Promise<{ client: EngineClient; terminate: () => void }> {
  const thread = spawnNodeEngine();
  const client = await EngineClient.start({ spawn: () => thread, after: () => () => {} });
  await client.load({ prepared: { wasm: { directory } }, provider: "wasm", threads: 3, slots: 2, slotLength: 256 });
  for await (const { tokens } of client.generate({ prompt: "The river", maxTokens: 4 })) void tokens;
  return { client, terminate: () => thread.terminate() };
}

// The pool of file reads counts from its first use on.
await start().then(({ client }) => client.close());
await sleep(500);
const before = threads();
const first = await start();
const loaded = threads();
await sleep(200);
const { user, system } = process.cpuUsage();
await sleep(1_000);
const idle = process.cpuUsage({ user, system });
await first.client.close();
const released = await settled(before);
const second = await start();
const running = second.client.generate({ prompt: "The sea", maxTokens: 200 });
for await (const _ of running) {
  second.terminate();
  break;
}
const terminated = await settled(before);
const counts: ThreadCounts = { idleCpuMs: (idle.user + idle.system) / 1_000, before, loaded, released, terminated };
await rm(folder, { recursive: true });
console.log(JSON.stringify(counts));
process.exit(0);
