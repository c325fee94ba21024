/** `skein models` as a person meets it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { runCommandLine } from "../../cli/command-line.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { affineGraph } from "../support/tiny-onnx.ts";
import { fakeShell } from "./shell.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-cli-models-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function skein(line: string): Promise<{ exit: number; out: string; err: string }> {
  const shell = fakeShell({ cwd: folder, dataDirectory: folder });
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
  expect(list.out).toMatch(/^hf:someone\/tiny +1\.2 MB +someone\/tiny@0123456789ab$/m);
  expect(list.out).toMatch(/^smollm2-135m-instruct +- +not fetched yet$/m);
  expect(JSON.parse((await skein(`models list --json --data-dir ${dataDir}`)).out)).toMatchObject({
    stored: [{ name: "hf:someone/tiny", bytes: 1_234_567 }],
    known: ["smollm2-135m-instruct", "all-minilm-l6-v2"],
  });
  const shown = await skein(`models show hf:someone/tiny --json --data-dir ${dataDir}`);
  expect(JSON.parse(shown.out)).toMatchObject({ architecture: "llama", contextLength: 512, bytesPerToken: 512 });
  expect((await skein(`models show hf:someone/tiny --data-dir ${dataDir}`)).out).toContain("language model, for chats");
  expect(await skein(`models show hf:someone/tini --data-dir ${dataDir}`)).toMatchObject({
    exit: 4,
    err: expect.stringContaining('Did you mean "hf:someone/tiny"?'),
  });
  expect(await skein(`models rm hf:someone/tiny --data-dir ${dataDir}`)).toMatchObject({ exit: 0, out: "" });
  expect(await skein(`models rm hf:someone/tiny --data-dir ${dataDir}`)).toMatchObject({ exit: 4 });
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
