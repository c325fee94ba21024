import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchModel, type FetchModelOptions } from "../../../worker/models/fetch-model.ts";
import { parseHubName } from "../../../worker/models/hub-listing.ts";
import { removeStored, storedModels } from "../../../worker/models/stored-models.ts";
import { COMMIT, startHub, TOKEN } from "../../support/fake-hub.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { makeTinyRepository } from "../../support/tiny-repository.ts";
import { DEAD_ENDPOINT, noPython, noPause } from "./sources.ts";

let dataDir: string;
beforeEach(async () => void (dataDir = await mkdtemp(join(tmpdir(), "skein-hub-"))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const get = (name: string, options: Partial<FetchModelOptions>) =>
  fetchModel(name, { dataDir, fetch, run: noPython, now: () => performance.now(), pause: noPause, ...options });

const gguf = makeTinyGguf().bytes;

test("names of the hub, and what is none", () => {
  expect(parseHubName("smollm2-135m-instruct")).toBeUndefined();
  expect(parseHubName("hf:a/b")).toEqual({ repository: "a/b", revision: "main", file: undefined });
  expect(parseHubName("hf:a/b@v1.0:sub/x.gguf")).toEqual({ repository: "a/b", revision: "v1.0", file: "sub/x.gguf" });
  for (const name of [
    "hf:a",
    "hf:a/b/c",
    "hf:../b",
    "hf:a/..",
    "hf:a/b:../x.gguf",
    "hf:a/b:x/../../y.gguf",
    "hf:a/b?c",
    "hf:",
  ])
    expect(() => parseHubName(name), name).toThrow("is not a name of the hub");
});

describe("a repository", () => {
  test("of safetensors: the files that matter, checked, listed, kept, removed", async () => {
    const { contents } = makeTinyRepository("qwen3", { shards: 2 });
    const files = new Map([
      ...contents,
      ["README.md", Buffer.from("x")],
      ["pytorch_model.bin", Buffer.from("y")],
    ] as const);
    await using hub = await startHub(files, { isPrivate: true });
    const options = { hubEndpoint: hub.endpoint, hubToken: TOKEN };
    const { path } = await get("hf:someone/model", options);
    expect((await readdir(path)).toSorted()).toEqual([...contents.keys()].toSorted());
    for (const [name, bytes] of contents)
      expect(new Uint8Array(await readFile(join(path, name)))).toEqual(new Uint8Array(bytes));
    // Nobody is asked any more.
    expect(await get("hf:someone/model", { hubEndpoint: DEAD_ENDPOINT, offline: true })).toEqual({ path });
    const bytes = [...contents.values()].reduce((sum, { length }) => sum + length, 0);
    const stored = { name: "hf:someone/model", path, bytes, source: "someone/model@0123456789ab" };
    expect(await storedModels(dataDir)).toEqual([stored]);
    expect(await removeStored(dataDir, "hf:someone/model")).toBe(true);
    expect(await removeStored(dataDir, "hf:someone/model")).toBe(false);
    expect(await readdir(join(dataDir, "models", "repositories"))).toEqual([]);
  });

  test("of one GGUF file is that file; of several, one must be named", async () => {
    await using hub = await startHub(new Map([["a.gguf", gguf]]));
    const { path } = await get("hf:someone/model", { hubEndpoint: hub.endpoint });
    expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(gguf));
    await using more = await startHub(
      new Map([
        ["a.gguf", gguf],
        ["sub/b.gguf", gguf],
      ]),
    );
    const failure = get("hf:someone/model@main", { hubEndpoint: more.endpoint });
    await expect(failure).rejects.toThrow("has 2 GGUF files; name one, such as hf:someone/model:a.gguf");
    const named = await get("hf:someone/model:sub/b.gguf", { hubEndpoint: more.endpoint });
    expect(named.path.endsWith(join("sub", "b.gguf"))).toBe(true);
    await expect(get("hf:someone/model:c.gguf", { hubEndpoint: more.endpoint })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });

  test("of ONNX: the graph, its tensors and what describes them; one variant by its name", async () => {
    const text = (content: string): Uint8Array => new Uint8Array(Buffer.from(content));
    const files = new Map([
      ["config.json", text('{"architectures": ["BertModel"]}')],
      ["tokenizer.json", text("{}")],
      ["onnx/model.onnx", text("graph")],
      ["onnx/model.onnx_data", text("tensors")],
      ["onnx/model_q4.onnx", text("small graph")],
      ["README.md", text("x")],
    ]);
    await using hub = await startHub(files);
    const { path } = await get("hf:someone/model", { hubEndpoint: hub.endpoint });
    expect((await readdir(path)).toSorted()).toEqual(["config.json", "onnx", "tokenizer.json"]);
    expect((await readdir(join(path, "onnx"))).toSorted()).toEqual(["model.onnx", "model.onnx_data"]);
    const variant = await get("hf:someone/model:onnx/model_q4.onnx", { hubEndpoint: hub.endpoint });
    expect(await readFile(variant.path, "utf8")).toBe("small graph");
    expect(await removeStored(dataDir, "hf:someone/model")).toBe(true);
    const others = [...files].filter(([name]) => !name.startsWith("onnx/"));
    await using eight = await startHub(new Map([...others, ["onnx/model_int8.onnx", text("bytes")]]));
    const { path: bytes } = await get("hf:someone/model", { hubEndpoint: eight.endpoint });
    expect(await readdir(join(bytes, "onnx"))).toEqual(["model_int8.onnx"]);
    expect(await removeStored(dataDir, "hf:someone/model")).toBe(true);
    await expect(get("hf:someone/model:README.md", { hubEndpoint: hub.endpoint })).rejects.toThrow(
      "README.md is neither a GGUF nor an ONNX file",
    );
  });

  test("of ONNX that is a language model's which can't be run is refused before its weights, unless its file is named", async () => {
    const config = new Uint8Array(Buffer.from('{"architectures": ["MambaForCausalLM"]}'));
    const graph = new Uint8Array(Buffer.from("graph"));
    await using hub = await startHub(
      new Map([
        ["config.json", config],
        ["onnx/model.onnx", graph],
        ["onnx/model.onnx_data", graph],
      ]),
    );
    await expect(get("hf:someone/model", { hubEndpoint: hub.endpoint })).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining('the model\'s architecture "MambaForCausalLM" is not supported') as string,
    });
    expect(hub.asked.filter((url) => url.includes("resolve") && url.includes(".onnx"))).toEqual([]);
    const { path } = await get("hf:someone/model:onnx/model.onnx", { hubEndpoint: hub.endpoint });
    expect(await readFile(path, "utf8")).toBe("graph");
  });

  test("that can't be run is refused before a byte of its weights is fetched", async () => {
    const { contents } = makeTinyRepository("llama");
    contents.set("config.json", new Uint8Array(Buffer.from('{"architectures": ["MambaForCausalLM"]}')));
    await using hub = await startHub(contents);
    await expect(get("hf:someone/model", { hubEndpoint: hub.endpoint })).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining('"MambaForCausalLM" is not supported') as string,
    });
    expect(hub.asked.filter((url) => url.includes("safetensors "))).toEqual([]);

    const foreign = Buffer.concat([gguf, Buffer.alloc(8 * 1024 * 1024)]);
    foreign.write("mamba", foreign.indexOf("llama"));
    await using other = await startHub(new Map([["x.gguf", new Uint8Array(foreign)]]));
    await expect(get("hf:someone/model", { hubEndpoint: other.endpoint })).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
    });
    expect(other.asked.filter((url) => url.includes(".gguf"))).toEqual([
      `/someone/model/resolve/${COMMIT}/x.gguf bytes=0-${4 * 1024 * 1024 - 1}`,
    ]);
  });

  test("that needs a token, is missing, or isn't reached: what to do", async () => {
    await using hub = await startHub(new Map([["a.gguf", gguf]]), { isPrivate: true });
    const failed = (name: string, options: Partial<FetchModelOptions>) =>
      get(name, options).catch((error: unknown) => error);
    expect(await failed("hf:someone/model", { hubEndpoint: hub.endpoint })).toMatchObject({
      code: "PERMISSION_DENIED",
      message: expect.stringContaining("set HF_TOKEN") as string,
    });
    const options = { hubEndpoint: hub.endpoint, hubToken: TOKEN };
    expect(await failed("hf:someone/else", options)).toMatchObject({ code: "NOT_FOUND" });
    expect(await failed("hf:a/b", { hubEndpoint: DEAD_ENDPOINT })).toMatchObject({ code: "UNAVAILABLE" });
    expect(await failed("hf:a/b", { offline: true })).toMatchObject({
      message: expect.stringContaining("HF_HUB_OFFLINE") as string,
    });
    expect(await failed("hf:a", {})).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("with other content than its hash is refused", async () => {
    const files = new Map([["a.gguf", gguf]]);
    await using hub = await startHub(files);
    const fetchWrong: typeof fetch = async (url, init) => {
      const response = await fetch(url, init);
      const range = new Headers(init?.headers).get("range");
      if (range !== "bytes=0-") return response;
      const bytes = new Uint8Array(await response.arrayBuffer());
      bytes[bytes.length - 1]! ^= 1;
      return new Response(bytes, { status: 206, headers: response.headers });
    };
    await expect(get("hf:someone/model", { hubEndpoint: hub.endpoint, fetch: fetchWrong })).rejects.toThrow(
      "not the expected one",
    );
  });
});

describe("a hub that fails for a while", () => {
  test("is asked again, listing and files; a cut inside a shard goes on there", async () => {
    const { contents } = makeTinyRepository("qwen3", { shards: 2 });
    const troubles = [{ status: 503 }, { status: 429, headers: { "retry-after": "7" } }];
    await using hub = await startHub(contents, { troubles, cutAfter: 20_000, cuts: 2 });
    const pauses: number[] = [];
    const pause = async (ms: number): Promise<void> => void pauses.push(ms);
    const { path } = await get("hf:someone/model", { hubEndpoint: hub.endpoint, pause });
    for (const [name, bytes] of contents)
      expect(new Uint8Array(await readFile(join(path, name)))).toEqual(new Uint8Array(bytes));
    expect(pauses).toEqual([1_000, 7_000]);
    const first = hub.asked
      .filter((url) => url.includes("00001-of-00002"))
      .map((url) => Number(/(\d+)-$/.exec(url)?.[1]));
    expect(first).toHaveLength(3);
    expect(first[0]).toBe(0);
    expect(first[1]).toBeGreaterThan(0);
    expect(first[2]).toBeGreaterThan(first[1]!);
  });

  test("after the heads of its answers gets pauses too, and three tries without a byte", async () => {
    const pauses: number[] = [];
    const pause = async (ms: number): Promise<void> => void pauses.push(ms);
    const files = new Map([["a.gguf", gguf]]);
    await using hub = await startHub(files, { cutAfter: 0, cuts: 2 });
    await get("hf:someone/model", { hubEndpoint: hub.endpoint, pause });
    expect(pauses).toEqual([1_000, 2_000]);
    await rm(dataDir, { recursive: true });
    await using worse = await startHub(files, { cutAfter: 0, cuts: 3 });
    await expect(get("hf:someone/model", { hubEndpoint: worse.endpoint, pause })).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.not.stringContaining("wheel") as string,
    });
    expect(pauses).toEqual([1_000, 2_000, 1_000, 2_000]);
  });

  test("and then for good keeps what has come inside a shard for the next call", async () => {
    const { contents } = makeTinyRepository("qwen3", { shards: 2 });
    const shard = contents.get("model-00001-of-00002.safetensors")!;
    const bytesFrom = (asked: readonly string[]) =>
      asked.filter((url) => url.includes("00001-of-00002")).map((url) => Number(/(\d+)-$/.exec(url)?.[1]));
    {
      await using hub = await startHub(contents, { cutAfter: 20_000, cuts: 1 });
      const cutting: typeof fetch = async (url, init) => {
        const from = Number(/\d+/.exec(new Headers(init?.headers).get("range") ?? "0")![0]);
        if (from > 0)
          throw new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code: "ECONNRESET" }) });
        return fetch(url, init);
      };
      await expect(get("hf:someone/model", { hubEndpoint: hub.endpoint, fetch: cutting })).rejects.toMatchObject({
        code: "UNAVAILABLE",
        message: expect.stringContaining("can't be reached (ECONNRESET)") as string,
      });
    }
    await using hub = await startHub(contents);
    await get("hf:someone/model", { hubEndpoint: hub.endpoint });
    const [from, ...more] = bytesFrom(hub.asked);
    expect(more).toEqual([]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThan(shard.length);
    // What was whole isn't asked for again.
    expect(hub.asked.filter((url) => url.includes("config.json"))).toEqual([]);
  });
});

test("two processes that pull one repository pull it once", async () => {
  const { contents } = makeTinyRepository("llama", { shards: 2 });
  await using hub = await startHub(contents, { delayMs: 200 }); // both are there before the first is done
  const program = fileURLToPath(new URL("fetch-tiny-main.ts", import.meta.url));
  const run = () => promisify(execFile)(process.execPath, [program, dataDir, hub.endpoint, "hf:someone/model"]);
  const [one, two] = await Promise.all([run(), run()]);
  expect(one.stdout).toBe(two.stdout);
  const files = hub.asked.filter((url) => url.includes("/resolve/")).map((url) => url.split(" ")[0]);
  expect(files).toHaveLength(contents.size);
  expect(new Set(files).size).toBe(contents.size);
});

test("what Hugging Face's own tools have fetched is used where it lies, if it is whole", async () => {
  const hubCache = join(dataDir, "cache");
  const snapshot = join(hubCache, "models--someone--model", "snapshots", COMMIT);
  await mkdir(snapshot, { recursive: true });
  await mkdir(join(hubCache, "models--someone--model", "refs"));
  await writeFile(join(hubCache, "models--someone--model", "refs", "main"), COMMIT);
  const { contents } = makeTinyRepository("llama", { shards: 2 });
  for (const [name, bytes] of contents) await writeFile(join(snapshot, name), bytes);
  const options = { hubCache, offline: true };
  expect(await get("hf:someone/model", options)).toEqual({ path: snapshot });
  expect(await get(`hf:someone/model@${COMMIT}`, options)).toEqual({ path: snapshot });
  await rm(join(snapshot, "model-00002-of-00002.safetensors"));
  await expect(get("hf:someone/model", options)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await mkdir(join(snapshot, "onnx"));
  await writeFile(join(snapshot, "onnx/model.onnx"), "graph");
  expect(await get("hf:someone/model:onnx/model.onnx", options)).toEqual({ path: join(snapshot, "onnx/model.onnx") });
});
