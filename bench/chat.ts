/**
 * What the way through the mesh (ingress, replica, server-sent events of the OpenAI API) adds to a chat: `node bench/chat.ts [--short] [--json]`.
 * One chat at a time, greedy, `native`, with the same model and prompt in the engine of this process and through a mesh beside it. They take
 * turns; the prompt is in both prefix caches, and both have answered for a while: the first requests of new processes take some
 * ms more, in both. A figure is the median over the rounds, and the difference that of the medians.
 */
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { prepareCached } from "../engine/node/prepared-cache.ts";
import { defaultModelPath } from "../test/support/default-model.ts";
import { startEngine } from "./engine-client.ts";
import { quantile } from "./http-load.ts";
import { machineFacts } from "./machine-facts.ts";
import { benchFolder, startSkein } from "./skein.ts";

const { values: options } = parseArgs({
  options: { short: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});
const ROUNDS = options.short ? 5 : 20;
const WARM_UP_ROUNDS = options.short ? 30 : 60;
const WARM_UP_TOKENS = 2;
const TOKENS = 64;
const THREADS = 2;
const REST_MS = 300;
const MESSAGES = [{ role: "user", content: "Could you explain what is dask?" }];

/** Times of the pieces of one answer, ms from the question on. */
type Pieces = readonly number[];

const file = await defaultModelPath();
const directory = await prepareCached({
  file,
  target: "native",
  cache: join(tmpdir(), "skein-bench-prepared"),
  now: Date.now(),
});
const engine = await startEngine();
await engine.load({
  provider: "native",
  prepared: { native: { directory } },
  threads: THREADS,
  slots: 4,
  slotLength: 1024,
});
const folder = benchFolder();
const model = { source: file, id: "bench", device: "native", slots: 4, slot_length: 1024 };
const mesh = await startSkein(
  {
    http_options: { port: 0 },
    applications: [{ name: "openai", import_path: "skein/llm:openai", args: { models: [model] } }],
  },
  folder.path,
  "/v1/models",
);
const url = new URL("/v1/chat/completions", Object.values(mesh.ready.urls)[0]!.replace("localhost", "127.0.0.1"));

async function direct(maxTokens: number): Promise<Pieces> {
  const began = performance.now();
  const pieces: number[] = [];
  for await (const _ of engine.generate({ messages: MESSAGES, maxTokens })) pieces.push(performance.now() - began);
  return pieces;
}

/** By node:http on a connection that stays: `fetch` alone would take another 1.5 ms to the first byte. */
const agent = new Agent({ keepAlive: true });
function throughMesh(maxTokens: number): Promise<Pieces> {
  const body = JSON.stringify({ messages: MESSAGES, max_tokens: maxTokens, temperature: 0, stream: true });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const question = request(url, { agent, method: "POST", headers }, (answer) => {
      const pieces: number[] = [];
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (part: string) => {
        const events = (text + part).split("\n\n");
        text = events.pop()!;
        for (const event of events) if (/"content":"[^"]/.test(event)) pieces.push(performance.now() - began);
      });
      answer.on("error", reject);
      answer.on("end", () =>
        answer.statusCode === 200 ? resolve(pieces) : reject(new Error(`${answer.statusCode}: ${text}`)),
      );
    });
    question.on("error", reject);
    question.end(body);
  });
}

const ways = { engine: direct, mesh: throughMesh };
const seen = { engine: [] as Pieces[], mesh: [] as Pieces[] };
try {
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++)
    for (const name of ["engine", "mesh"] as const) {
      // What the other has left to do after its answer is not to be in this one's way.
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
      const pieces = await ways[name](round < 0 ? WARM_UP_TOKENS : TOKENS);
      if (round >= 0) seen[name].push(pieces);
    }
} finally {
  agent.destroy();
  await mesh.stop();
  await engine.close();
  folder.remove();
}

const medianOf = (name: keyof typeof seen, figure: (pieces: Pieces) => number): number =>
  quantile(seen[name].map(figure), 0.5);
const rows = (
  [
    ["firstTokenMs", (pieces) => pieces[0]!],
    ["msPerToken", (pieces) => (pieces.at(-1)! - pieces[0]!) / (pieces.length - 1)],
    [
      "gapP50Ms",
      (pieces) =>
        quantile(
          pieces.slice(1).map((at, i) => at - pieces[i]!),
          0.5,
        ),
    ],
  ] as const satisfies readonly (readonly [string, (pieces: Pieces) => number])[]
).map(([figure, of]) => {
  const [alone, through] = [medianOf("engine", of), medianOf("mesh", of)];
  return { figure, engine: alone, mesh: through, added: through - alone };
});
const pieces = { engine: seen.engine[0]!.length, mesh: seen.mesh[0]!.length };
if (options.json)
  console.log(JSON.stringify({ benchmark: "chat", machine: machineFacts(), rounds: ROUNDS, pieces, rows }));
else {
  const { cpu, cores, system, node, load } = machineFacts();
  console.log(
    `${cpu}, ${cores} cores, ${system}, Node ${node}, load ${load.toFixed(2)}; ${ROUNDS} rounds of ${pieces.mesh} pieces\n`,
  );
  console.log(`${"".padEnd(16)}${"engine".padEnd(12)}${"mesh".padEnd(12)}added`);
  for (const row of rows)
    console.log(
      `${row.figure.padEnd(16)}${row.engine.toFixed(2).padEnd(12)}${row.mesh.toFixed(2).padEnd(12)}${row.added.toFixed(2)}`,
    );
}
