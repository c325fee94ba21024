/** Models by URL, from servers that are a function: what is fetched, what is refused, and who is asked. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchModel, type FetchModelOptions } from "../../../worker/models/fetch-model.ts";
import { URL_FILE_MAX, URL_REDIRECTS_MAX } from "../../../worker/models/limits.ts";
import { canonicalName, readModelHosts } from "../../../worker/models/model-url.ts";
import type { FetchProgress } from "../../../worker/models/progress.ts";
import { findStored, removeStored, storedModels } from "../../../worker/models/stored-models.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { noPython, noPause } from "./sources.ts";

const gguf = Buffer.from(makeTinyGguf().bytes);
const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const SHA256 = hashOf(gguf);
const URL_OF_IT = "https://models.example/some/tiny.gguf";
const NAME = `${URL_OF_IT}#sha256=${SHA256}`;
const HOSTS = ["models.example", "store.example:8443"];

let dataDir: string;
beforeEach(async () => void (dataDir = await mkdtemp(join(tmpdir(), "skein-url-"))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));
const target = () => join(dataDir, "models", "sha256", `${SHA256}.gguf`);
const part = () => join(dataDir, "models", "partial", `${SHA256}.part`);

interface Asked {
  readonly url: string;
  readonly headers: Headers;
}
type Answer = (asked: Asked) => Response | Promise<Response>;

/** A range of `content`, as a server gives it. */
const serve =
  (content: Buffer): Answer =>
  ({ headers }) => {
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(headers.get("range")!)!;
    const end = Math.min(content.length, to === "" ? content.length : Number(to) + 1);
    const head = { "content-range": `bytes ${from}-${end - 1}/${content.length}` };
    return new Response(new Uint8Array(content.subarray(Number(from), end)), { status: 206, headers: head });
  };
const redirect = (location: string): Response => new Response(null, { status: 302, headers: { location } });

/** A network of these addresses; whoever asks for another one gets a broken connection. */
function network(answers: Readonly<Record<string, Answer>>) {
  const asked: Asked[] = [];
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const request = { url: String(input), headers: new Headers(init?.headers) };
    asked.push(request);
    expect(init?.redirect).toBe("manual");
    const answer = answers[request.url];
    if (answer === undefined) throw new TypeError("fetch failed");
    return answer(request);
  };
  return { asked, fetch };
}

const get = (name: string, options: Partial<FetchModelOptions>) =>
  fetchModel(name, {
    dataDir,
    fetch,
    run: noPython,
    now: () => performance.now(),
    pause: noPause,
    modelHosts: HOSTS,
    ...options,
  });
const failure = (name: string, options: Partial<FetchModelOptions>) =>
  get(name, options).then(
    () => "it was fetched",
    (error: unknown) => error,
  );
const says = (text: string) => expect.stringContaining(text) as string;

describe("a model by URL", () => {
  test("is fetched, listed by its name, not fetched again, and removed; the token stays here", async () => {
    const { asked, fetch } = network({ [URL_OF_IT]: serve(gguf) });
    const seen: FetchProgress[] = [];
    const options = { fetch, hubToken: "hf_secret", onProgress: (progress: FetchProgress) => seen.push(progress) };
    expect(await get(NAME, options)).toEqual({ path: target() });
    expect(await readFile(target())).toEqual(gguf);
    expect(seen.at(-1)).toMatchObject({ stage: "url", bytes: gguf.length, total: gguf.length });
    expect(asked.map(({ headers }) => headers.get("range"))).toEqual([
      "bytes=0-0",
      expect.stringMatching(/^bytes=0-\d{2,}$/),
      "bytes=0-",
    ]);
    for (const { headers } of asked) expect([...headers.keys()]).toEqual(["accept-encoding", "range"]);
    const stored = { name: NAME, path: target(), bytes: gguf.length, source: "models.example" };
    expect(await storedModels(dataDir)).toEqual([stored]);

    // What is there isn't even hashed again; another URL of the same content asks nobody.
    expect(await get(NAME, { onProgress: () => expect.unreachable() })).toEqual({ path: target() });
    const other = `https://store.example:8443/x.gguf#sha256=${SHA256.toUpperCase()}`;
    expect(await get(other, network({}))).toEqual({ path: target() });
    expect(await findStored(dataDir, canonicalName(other))).toEqual(stored);
    expect(await removeStored(dataDir, canonicalName(other))).toBe(true);
    expect(await removeStored(dataDir, NAME)).toBe(false);
    expect(await readdir(join(dataDir, "models", "sha256"))).toEqual([]);
  });

  test("offline is what is on this disk, and nobody is asked", async () => {
    const { asked, fetch } = network({ [URL_OF_IT]: serve(gguf) });
    const forbidden = await failure(NAME, { fetch, offline: true });
    expect(forbidden).toMatchObject({ code: "UNAVAILABLE", message: says("HF_HUB_OFFLINE forbids to fetch it") });
    expect(asked).toEqual([]);
    await get(NAME, { fetch });
    expect(await get(NAME, { fetch, offline: true })).toEqual({ path: target() });
  });

  test("of an ONNX file keeps its ending, which says what it is", async () => {
    const graph = Buffer.from("graph");
    const { fetch } = network({ "https://models.example/x.onnx": serve(graph) });
    const { path } = await get(`https://models.example/x.onnx#sha256=${hashOf(graph)}`, { fetch });
    expect(path.endsWith(`${hashOf(graph)}.onnx`)).toBe(true);
  });

  test("resumes where it was cut, in one call and from an earlier one", async () => {
    await mkdir(join(dataDir, "models", "partial"), { recursive: true });
    await writeFile(part(), gguf.subarray(0, 10));
    let cuts = 2;
    const cutting: Answer = (asked) => {
      if (!asked.headers.get("range")!.endsWith("-") || cuts-- <= 0) return serve(gguf)(asked);
      const from = Number(/\d+/.exec(asked.headers.get("range")!)![0]);
      const chunks = [gguf.subarray(from, from + 5_000)];
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          const chunk = chunks.shift();
          if (chunk === undefined) controller.error(new TypeError("terminated"));
          else controller.enqueue(new Uint8Array(chunk));
        },
      });
      const head = { "content-range": `bytes ${from}-${gguf.length - 1}/${gguf.length}` };
      return new Response(body, { status: 206, headers: head });
    };
    const { asked, fetch } = network({ [URL_OF_IT]: cutting });
    await get(NAME, { fetch });
    expect(await readFile(target())).toEqual(gguf);
    const open = asked.map(({ headers }) => headers.get("range")!).filter((range) => range.endsWith("-"));
    expect(open).toEqual(["bytes=10-", "bytes=5010-", "bytes=10010-"]);
  });

  test("with other content than its hash is refused and leaves nothing", async () => {
    const other = Buffer.from(gguf);
    other[other.length - 1]! ^= 1;
    const { fetch } = network({ [URL_OF_IT]: serve(other) });
    expect(await failure(NAME, { fetch })).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: says("not the expected one"),
    });
    expect(await readdir(join(dataDir, "models", "sha256"))).toEqual([]);
    expect(await readdir(join(dataDir, "models", "partial"))).toEqual([`${SHA256}.lock`]);
  });

  test("that the engine can't run is refused after its head", async () => {
    const foreign = Buffer.concat([gguf, Buffer.alloc(8 * 1024 * 1024)]);
    foreign.write("mamba", foreign.indexOf("llama"));
    const { asked, fetch } = network({ [URL_OF_IT]: serve(foreign) });
    const failed = await failure(`${URL_OF_IT}#sha256=${hashOf(foreign)}`, { fetch });
    expect(failed).toMatchObject({ code: "UNIMPLEMENTED", message: says("mamba") });
    expect(asked.map(({ headers }) => headers.get("range"))).not.toContain("bytes=0-");
  });

  test.each<[string, Response, string, string]>([
    ["is missing", new Response(null, { status: 404 }), "NOT_FOUND", "has no /some/tiny.gguf"],
    ["isn't for everybody", new Response(null, { status: 403 }), "PERMISSION_DENIED", "not to everybody"],
    ["is out of order", new Response(null, { status: 500 }), "UNAVAILABLE", "answered 500"],
    ["has no size", new Response("x"), "UNAVAILABLE", "doesn't say how large"],
    [
      "is too large",
      new Response("x", { headers: { "content-length": `${URL_FILE_MAX + 1}` } }),
      "INVALID_ARGUMENT",
      `more than ${URL_FILE_MAX}`,
    ],
  ])("that %s: what its server said", async (_, response, code, text) => {
    const { fetch } = network({ [URL_OF_IT]: () => response });
    expect(await failure(NAME, { fetch })).toMatchObject({ code, message: says(text) });
  });

  test("whose host isn't there", async () => {
    expect(await failure(NAME, network({}))).toMatchObject({ code: "UNAVAILABLE", message: says("can't be reached") });
  });

  test("that is larger than the disk", async (context) => {
    const { bavail, bsize } = await statfs(dataDir);
    if (bavail * bsize > URL_FILE_MAX) context.skip("there is room for anything");
    const head = { "content-range": `bytes 0-0/${URL_FILE_MAX}` };
    const { fetch } = network({
      "https://models.example/x.onnx": () => new Response("x", { status: 206, headers: head }),
    });
    expect(await failure(`https://models.example/x.onnx#sha256=${SHA256}`, { fetch })).toMatchObject({
      code: "INTERNAL",
      message: says("is full"),
    });
  });
});

describe("redirects", () => {
  test("are followed to allowed hosts, each time anew", async () => {
    const stored = "https://store.example:8443/blob?signature=1";
    const { asked, fetch } = network({
      [URL_OF_IT]: () => redirect("/moved.gguf"),
      "https://models.example/moved.gguf": () => redirect(stored),
      [stored]: serve(gguf),
    });
    await get(NAME, { fetch });
    expect(await readFile(target())).toEqual(gguf);
    expect(asked).toHaveLength(9);
  });

  test.each([
    ["another host", "https://inside.example/x", "PERMISSION_DENIED", "models may not come from inside.example:"],
    ["another port", "https://models.example:8443/x", "PERMISSION_DENIED", "from models.example:8443:"],
    ["an address of a machine", "https://169.254.169.254/latest", "PERMISSION_DENIED", "from 169.254.169.254:"],
    ["http", "http://models.example/x", "INVALID_ARGUMENT", "http: is not taken"],
    ["a user", "https://a:b@models.example/x", "INVALID_ARGUMENT", "no user and no password"],
    ["nonsense", "https://", "UNAVAILABLE", "redirects to what is no URL"],
  ])("to %s end it, and that is not asked", async (_, location, code, text) => {
    const { asked, fetch } = network({ [URL_OF_IT]: () => redirect(location) });
    expect(await failure(NAME, { fetch })).toMatchObject({ code, message: says(text) });
    expect(asked.map(({ url }) => url)).toEqual([URL_OF_IT]);
  });

  test("have an end", async () => {
    const { asked, fetch } = network({ [URL_OF_IT]: () => redirect(URL_OF_IT) });
    expect(await failure(NAME, { fetch })).toMatchObject({ code: "UNAVAILABLE", message: says("redirects more than") });
    expect(asked).toHaveLength(URL_REDIRECTS_MAX + 1);
  });
});

test.each([
  [
    "a host that isn't listed",
    `https://other.example/x.gguf#sha256=${SHA256}`,
    "PERMISSION_DENIED",
    "SKEIN_MODEL_HOSTS",
  ],
  [
    "a port that isn't listed",
    `https://store.example/x.gguf#sha256=${SHA256}`,
    "PERMISSION_DENIED",
    "SKEIN_MODEL_HOSTS",
  ],
  ["an address", `https://127.0.0.1/x.gguf#sha256=${SHA256}`, "PERMISSION_DENIED", "from 127.0.0.1:"],
  ["a number that is one", `https://2130706433/x.gguf#sha256=${SHA256}`, "PERMISSION_DENIED", "from 127.0.0.1:"],
  ["no hash", URL_OF_IT, "INVALID_ARGUMENT", 'add "#sha256="'],
  ["a short hash", `${URL_OF_IT}#sha256=12ab`, "INVALID_ARGUMENT", "is no SHA-256"],
  ["http", NAME.replace("https", "http"), "INVALID_ARGUMENT", "http: is not taken, only https:"],
  ["a user", NAME.replace("://", "://me:secret@"), "INVALID_ARGUMENT", "no user and no password"],
  ["another ending", NAME.replace("gguf", "bin"), "INVALID_ARGUMENT", "no .gguf or .onnx file"],
  ["a query", NAME.replace("#", "?token=secret#"), "INVALID_ARGUMENT", "question mark"],
  ["no host", "https://", "INVALID_ARGUMENT", "is no URL"],
  ["no end", `https://models.example/${"x".repeat(3_000)}`, "INVALID_ARGUMENT", "at most 2048 characters"],
])("a URL with %s is refused before anybody is asked", async (_, name, code, text) => {
  const { asked, fetch } = network({});
  const failed = await failure(name, { fetch });
  expect(failed).toMatchObject({ code, message: says(text) });
  expect((failed as Error).message).not.toContain("secret");
  expect(asked).toEqual([]);
});

test("no host is allowed unless one is listed; an entry that is none is named", async () => {
  expect(readModelHosts(undefined)).toEqual([]);
  expect(readModelHosts("none")).toEqual([]);
  expect(readModelHosts(" a.example, b.example:8443 ,")).toEqual(["a.example", "b.example:8443"]);
  expect(await failure(NAME, { ...network({}), modelHosts: [] })).toMatchObject({ code: "PERMISSION_DENIED" });
  for (const entry of ["https://models.example", "*.example", "a/b", "a b", "me@models.example"])
    expect(await failure(NAME, { ...network({}), modelHosts: [entry] }), entry).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: says("SKEIN_MODEL_HOSTS"),
    });
  const { fetch } = network({ [URL_OF_IT]: serve(gguf) });
  expect(await get(NAME, { fetch, modelHosts: ["Models.Example:443"] })).toEqual({ path: target() });
});

describe("a URL of the hub", () => {
  test("is the hub's name of the file", () => {
    const hub = "https://huggingface.co/owner/repository";
    expect(canonicalName(`${hub}/resolve/main/x.gguf`)).toBe("hf:owner/repository:x.gguf");
    expect(canonicalName(`${hub}/blob/v1.0/sub/x.gguf?download=true`)).toBe("hf:owner/repository@v1.0:sub/x.gguf");
    const mirror = "https://mirror.example/hub/";
    expect(canonicalName(`${mirror}a/b/resolve/main/x.gguf`, mirror)).toBe("hf:a/b:x.gguf");
    expect(canonicalName(`${hub}/resolve/main/x.gguf`, mirror)).toBe("hf:owner/repository:x.gguf");
    expect(canonicalName("hf:a/b")).toBe("hf:a/b");
    expect(canonicalName("./x.gguf")).toBe("./x.gguf");
    expect(() => canonicalName(hub)).toThrow("hf:owner/repository");
    expect(() => canonicalName(`${hub}/resolve/main/x.gguf#sha256=${SHA256}`)).toThrow("the hub tells the hashes");
    expect(() => canonicalName(`${hub}/resolve/main/%2e%2e%2fx.gguf`)).toThrow("is not a name of the hub");
    expect(() => canonicalName(`http://huggingface.co/a/b/resolve/main/x.gguf`)).toThrow("only https:");
  });

  test("is fetched from there: listing, hashes, token; no host needs to be listed", async () => {
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const asked: string[] = [];
    const fetch: typeof globalThis.fetch = async (input, init) => {
      const url = String(input);
      const headers = new Headers(init?.headers);
      asked.push(`${headers.get("authorization")} ${url}`);
      if (url.endsWith("/revision/v1")) return Response.json({ sha: commit });
      if (url.includes("/tree/"))
        return Response.json([
          { type: "file", path: "x.gguf", size: gguf.length, lfs: { oid: SHA256, size: gguf.length } },
        ]);
      return serve(gguf)({ url, headers });
    };
    const hubEndpoint = "https://hub.example";
    const options = { fetch, hubEndpoint, hubToken: "hf_secret", modelHosts: [] };
    const { path } = await get(`${hubEndpoint}/a/b/blob/v1/x.gguf`, options);
    expect(await readFile(path)).toEqual(gguf);
    expect(asked).toContain(`Bearer hf_secret ${hubEndpoint}/a/b/resolve/${commit}/x.gguf`);
    expect((await storedModels(dataDir)).map(({ name }) => name)).toEqual(["hf:a/b@v1:x.gguf"]);
    expect(await get("hf:a/b@v1:x.gguf", { offline: true })).toEqual({ path });
  });
});
