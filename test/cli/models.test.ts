/** `skein models` as a person meets it. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { runCommandLine } from "../../cli/command-line.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { knownModels } from "../../worker/models/catalogue.ts";
import { parseHubName } from "../../worker/models/hub-listing.ts";
import { canonicalName } from "../../worker/models/model-url.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { affineGraph } from "../support/tiny-onnx.ts";
import { fakeShell } from "./shell.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-cli-models-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const NAMES = [
  "smollm2-135m-instruct",
  "all-minilm-l6-v2",
  "smollm2-360m-instruct",
  "gemma-3-270m-it",
  "gemma-3-1b-it",
  "qwen3-0.6b",
  "qwen3-1.7b",
  "llama-3.2-1b-instruct",
];

async function skein(line: string): Promise<{ exit: number; out: string; err: string }> {
  const shell = fakeShell({ cwd: folder, dataDirectory: folder, env: { HF_HOME: join(folder, "hf") } });
  const exit = await runCommandLine(line.split(" "), shell);
  return { exit, out: shell.stdout, err: shell.stderr };
}

/** A data directory with one model. */
function put(): string {
  const dataDir = mkdtempSync(join(folder, "data-"));
  const repository = join(dataDir, "models", "repositories");
  const id = "ab".repeat(32);
  mkdirSync(join(repository, id), { recursive: true });
  writeFileSync(join(repository, id, "tiny.gguf"), makeTinyGguf().bytes);
  const note = { name: "hf:someone/tiny", bytes: 1_234_567, source: "someone/tiny@0123456789ab", file: "tiny.gguf" };
  writeFileSync(join(repository, `${id}.json`), JSON.stringify(note));
  return dataDir;
}

test("listed, shown and removed", async () => {
  const dataDir = put();
  const list = await skein(`models list --data-dir ${dataDir}`);
  expect(list.out).toMatch(/^hf:someone\/tiny +1\.2 MB +- +- +someone\/tiny@0123456789ab$/m);
  expect(list.out).toMatch(/^smollm2-135m-instruct +98\.4 MB +~237 MB +Apache-2\.0 +not fetched yet$/m);
  expect(list.out).toMatch(/^gemma-3-1b-it +~806 MB +~1312 MB +Gemma\* +not fetched yet$/m);
  expect(list.err).toContain("*: the original asks for consent on the hub and for HF_TOKEN");
  expect(JSON.parse((await skein(`models list --json --data-dir ${dataDir}`)).out)).toMatchObject({
    stored: [{ name: "hf:someone/tiny", bytes: 1_234_567, licence: null }],
    known: NAMES.map((name) => ({ name, licence: expect.any(String) as string })),
  });
  const shown = await skein(`models show hf:someone/tiny --json --data-dir ${dataDir}`);
  expect(JSON.parse(shown.out)).toMatchObject({ architecture: "llama", contextLength: 512, bytesPerToken: 512 });
  expect((await skein(`models show hf:someone/tiny --data-dir ${dataDir}`)).out).toContain("language model, for chats");
  expect(await skein(`models show hf:someone/tini --data-dir ${dataDir}`)).toMatchObject({
    exit: 4,
    err: expect.stringContaining('Did you mean "hf:someone/tiny"?'),
  });
  const cache = join(dataDir, "prepared");
  const file = join(dataDir, "models", "repositories", "ab".repeat(32), "tiny.gguf");
  expect((await skein(`models show ${file} --data-dir ${dataDir}`)).out).toContain("llama, 2 layers");
  expect(await skein(`models show ${dataDir}/none.gguf --data-dir ${dataDir}`)).toMatchObject({ exit: 4 });
  for (const target of ["native", "wasm"] as const) await prepareCached({ file, target, cache, now: 0 });
  const [one] = readdirSync(cache);
  const others = [one!.replace(/^./, "z"), `${one}.partial-${crypto.randomUUID()}`];
  for (const other of others) mkdirSync(join(cache, other));
  expect(await skein(`models rm hf:someone/tiny --data-dir ${dataDir}`)).toMatchObject({
    exit: 0,
    out: "",
    err: expect.stringContaining("Removed hf:someone/tiny and its 2 converted copies.") as string,
  });
  expect(readdirSync(cache).toSorted()).toEqual(others.toSorted());
  expect(await skein(`models rm hf:someone/tiny --data-dir ${dataDir}`)).toMatchObject({ exit: 4 });
});

test("what isn't here yet is shown as the catalogue knows it, and once it is here as its files say", async () => {
  const dataDir = put();
  const show = (name: string) => skein(`models show ${name} --data-dir ${dataDir}`);
  expect((await show("llama-3.2-1b-instruct")).out).toMatch(
    /not fetched yet\n.*wasm ~\d+ MB\n.*64 KiB.*\n.*Llama 3\.2\n.*meta-llama.*HF_TOKEN.*\n.*~808 MB from hf:bartowski.*\n.*about right/,
  );
  expect((await show("all-minilm-l6-v2")).out).toMatch(/91\.3 MB from hf:sentence-transformers.*\n.*is pinned/);
  const json = await skein(`models show qwen3-0.6b --json --data-dir ${dataDir}`);
  const source = "hf:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf";
  expect(JSON.parse(json.out)).toMatchObject({ path: null, source, licence: "Apache-2.0", isPinned: false });
  expect(await show("qwen3-0.6")).toMatchObject({ exit: 4, err: expect.stringContaining('"qwen3-0.6b"') as string });

  const note = { name: source, bytes: 5_000_000, source: "Qwen/Qwen3-0.6B-GGUF@0123456789ab", file: "tiny.gguf" };
  writeFileSync(join(dataDir, "models", "repositories", `${"ab".repeat(32)}.json`), JSON.stringify(note));
  expect((await skein(`models list --data-dir ${dataDir}`)).out).toMatch(
    /^qwen3-0\.6b +5\.0 MB +~\d+ MB +Apache-2\.0 +Qwen.*@0123456789ab$/m,
  );
  for (const name of ["qwen3-0.6b", source]) expect((await show(name)).out, name).toContain("llama, 2 layers");
  expect(await skein(`models pull qwen3-0.6b --data-dir ${dataDir}`)).toMatchObject({ exit: 0 });
  expect(await skein(`models rm qwen3-0.6b --data-dir ${dataDir}`)).toMatchObject({ exit: 0 });
  expect((await show("qwen3-0.6b")).out).toContain("not fetched yet");
  expect(await skein(`models rm qwen3-0.6b --data-dir ${dataDir}`)).toMatchObject({
    exit: 4,
    err: expect.stringContaining("See: skein models list") as string,
  });
});

test("what Hugging Face's own tools have is listed and shown, and isn't ours to remove", async () => {
  const dataDir = mkdtempSync(join(folder, "data-"));
  const repository = join(folder, "hf", "hub", "models--Qwen--Qwen3-1.7B-GGUF");
  mkdirSync(join(repository, "snapshots", "c0ffee"), { recursive: true });
  writeFileSync(join(repository, "snapshots", "c0ffee", "Qwen3-1.7B-Q8_0.gguf"), makeTinyGguf().bytes);
  mkdirSync(join(repository, "refs"));
  writeFileSync(join(repository, "refs", "main"), "c0ffee");
  expect((await skein(`models list --data-dir ${dataDir}`)).out).toMatch(
    /^qwen3-1\.7b .*Apache-2\.0 +Hugging Face's cache$/m,
  );
  for (const name of ["qwen3-1.7b", "hf:Qwen/Qwen3-1.7B-GGUF:Qwen3-1.7B-Q8_0.gguf"]) {
    const { out } = await skein(`models show ${name} --data-dir ${dataDir}`);
    expect(out, name).toMatch(
      /^qwen3-1\.7b: .*\n.*llama, 2 layers[^]*licence: Apache-2\.0\n.*from Hugging Face's cache/,
    );
  }
  expect(await skein(`models rm qwen3-1.7b --data-dir ${dataDir}`)).toMatchObject({ exit: 4 });
  rmSync(repository, { recursive: true });
});

test("the memory of a model that isn't here is estimated well: the one that is pinned and has been converted", async () => {
  const { weights } = knownModels.find(({ name }) => name === "smollm2-135m-instruct")!;
  // As the planner says of the real file.
  const planned = { native: 145_564_928, webgpu: 266_773_760, wasm: 111_617_536 };
  for (const [provider, bytes] of Object.entries(planned)) {
    const off = Math.abs(weights[provider as keyof typeof planned] / bytes - 1);
    expect(off, provider).toBeLessThan(0.03);
  }
});

test("every name of the catalogue that is one of the hub's is well formed", () => {
  for (const { name, source, isPinned } of knownModels) {
    expect(parseHubName(source), name).toBeDefined();
    expect(canonicalName(name)).toBe(isPinned ? name : source);
  }
});

test("a model by URL is shown and removed by any URL of the same content; what names none is refused", async () => {
  const dataDir = mkdtempSync(join(folder, "data-"));
  const files = join(dataDir, "models", "sha256");
  const sha256 = "ef".repeat(32);
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, `${sha256}.gguf`), makeTinyGguf().bytes);
  const name = `https://models.example/tiny.gguf#sha256=${sha256}`;
  writeFileSync(join(files, `${sha256}.gguf.json`), JSON.stringify({ name, source: "models.example" }));
  expect((await skein(`models list --data-dir ${dataDir}`)).out).toMatch(
    /^https.*\.gguf#sha256=ef\S+ .*models\.example$/m,
  );
  const shown = await skein(`models show https://mirror.example/x.gguf#sha256=${sha256} --json --data-dir ${dataDir}`);
  expect(JSON.parse(shown.out)).toMatchObject({ name, architecture: "llama" });
  expect(await skein(`models rm ${name} --data-dir ${dataDir}`)).toMatchObject({ exit: 0 });
  expect(await skein(`models show ${name} --data-dir ${dataDir}`)).toMatchObject({ exit: 4 });
  const bare = await skein(`models pull https://models.example/tiny.gguf --data-dir ${dataDir}`);
  expect(bare).toMatchObject({ err: expect.stringContaining('add "#sha256="') });
  const foreign = await skein(`models pull ${name} --data-dir ${dataDir}`);
  expect(foreign).toMatchObject({ exit: 6, err: expect.stringContaining("SKEIN_MODEL_HOSTS") });
});

test("a file of the hub is shown by its URL too", async () => {
  const dataDir = put();
  const note = { name: "hf:someone/tiny:tiny.gguf", bytes: 1, source: "someone/tiny@0123456789ab", file: "tiny.gguf" };
  writeFileSync(join(dataDir, "models", "repositories", `${"ab".repeat(32)}.json`), JSON.stringify(note));
  const url = "https://huggingface.co/someone/tiny/blob/main/tiny.gguf";
  expect((await skein(`models show ${url} --data-dir ${dataDir}`)).out).toContain("language model");
});

test("an ONNX graph is shown with what it takes and gives", async () => {
  const dataDir = put();
  const repositories = join(dataDir, "models", "repositories");
  const id = "cd".repeat(32);
  mkdirSync(join(repositories, id));
  writeFileSync(join(repositories, id, "model.onnx"), affineGraph());
  const note = { name: "hf:someone/graph", bytes: 500_000, source: "someone/graph@0123456789ab", file: "model.onnx" };
  writeFileSync(join(repositories, `${id}.json`), JSON.stringify(note));
  const { out } = await skein(`models show hf:someone/graph --data-dir ${dataDir}`);
  expect(out).toContain(
    "hf:someone/graph: ONNX graph\n  inputs: x float32[batch, 3]\n  outputs: y float32[batch, 2], sum",
  );
  const shown = await skein(`models show hf:someone/graph --json --data-dir ${dataDir}`);
  expect(JSON.parse(shown.out)).toMatchObject({ kind: "graph", task: null, contextLength: null });
});

test("pulled: what is there is named at once, a wrong name says what there is", async () => {
  const dataDir = put();
  const { exit, out } = await skein(`models pull hf:someone/tiny --data-dir ${dataDir}`);
  expect(exit).toBe(0);
  expect(out).toMatch(/tiny\.gguf\n$/);
  expect(await skein(`models pull nothing --data-dir ${dataDir}`)).toMatchObject({
    exit: 4,
    err: expect.stringContaining("smollm2-135m-instruct"),
  });
});
