/** Models in a tab, from the mesh's files to what a provider loads: by kind, with progress, and refused where they don't fit before their weights come. */
import { expect, test } from "vitest";
import type { PreparedGraph } from "../../../engine/graph-model.ts";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { prepareInMemory, type PreparedModel } from "../../../engine/prepare.ts";
import type { ModelListing } from "../../../protocol/model-listing.ts";
import { MODEL_PIECE_MAX } from "../../../worker/browser/limits.ts";
import { openFromMesh } from "../../../worker/browser/models.ts";
import { makeTinyEncoder } from "../../support/tiny-encoder.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { onnxEncoder } from "../../support/tiny-onnx.ts";
import { makeTinyRepository } from "../../support/tiny-repository.ts";

/** A mesh that has these files; `sizes` says otherwise of how large they are. */
function meshOf(entry: string | null, files: ReadonlyMap<string, Uint8Array>, sizes: Record<string, number> = {}) {
  const asked: string[] = [];
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const name = decodeURIComponent(String(input).split("/").at(-1)!);
    const range = new Headers(init?.headers).get("range")!;
    asked.push(`${name} ${range}`);
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range)!;
    return new Response(new Uint8Array(files.get(name)!.slice(Number(from), Number(to) + 1)), { status: 206 });
  };
  const listing: ModelListing = {
    entry,
    files: [...files].map(([file, bytes]) => ({ file, bytes: sizes[file] ?? bytes.length, sha256: null })),
  };
  const progress: string[] = [];
  const open = async (provider: "wasm" | "webgpu" = "wasm", slotLength = 64) => {
    const model = { kind: "mesh", url: "http://mesh/models/x", listing, authorization: "Bearer t" } as const;
    const opened = await openFromMesh(model, provider, slotLength, (doing) => progress.push(doing), fetch);
    if (!("model" in opened)) throw new Error("a folder came");
    return opened.model;
  };
  return { asked, progress, open };
}

test("decoders of a GGUF file and of a repository's shards become the same kind of thing", async () => {
  const gguf = makeTinyGguf();
  const alone = meshOf("tiny.gguf", new Map([["tiny.gguf", gguf.bytes]]));
  const ofGguf = (await alone.open()) as PreparedModel;
  expect(ofGguf.config).toEqual({ ...gguf.config, normEpsilon: expect.closeTo(gguf.config.normEpsilon, 8) });
  expect(alone.asked).toHaveLength(1);
  expect(alone.progress.at(0)).toBe("reading its headers");
  expect(alone.progress.at(-1)).toBe("converting: 100 %");
  const { contents, config } = makeTinyRepository("qwen3", { shards: 2 });
  const prepared = (await meshOf(null, contents).open()) as PreparedModel;
  expect(prepared.config).toEqual(config);
  expect(prepared.weights).toBeInstanceOf(Uint8Array);
});

test("slots longer than the context of training get LongRoPE's long factors, as in Node", async () => {
  const { bytes } = makeTinyGguf({ kind: "longrope" });
  const mesh = meshOf("tiny.gguf", new Map([["tiny.gguf", bytes]]));
  for (const [slotLength, positions] of [
    [64, 64],
    [65, 512],
  ] as const) {
    const { weights, ...opened } = (await mesh.open("wasm", slotLength)) as PreparedModel;
    const inNode = await prepareInMemory(sourceOfBytes(bytes), { target: "wasm", slotLength });
    expect(opened.positions).toBe(positions);
    expect(opened.positions).toBe(inNode.positions);
    expect(
      Buffer.compare(weights.subarray(0, weights.byteLength), inNode.weights.subarray(0, weights.byteLength)),
    ).toBe(0);
  }
});

test("an encoder is emitted, an ONNX file is taken as it is with the files of its tensors", async () => {
  const emitted = (await meshOf(null, makeTinyEncoder().contents).open()) as PreparedGraph;
  expect(emitted).toMatchObject({ isOwn: true, external: ["weights.bin"], text: { maxTokens: 24 } });
  const files = await onnxEncoder();
  const taken = (await meshOf("onnx/model.onnx", files).open()) as PreparedGraph & { contents: Record<string, Blob> };
  expect(taken).toMatchObject({ isOwn: false, file: "model.onnx", external: ["weights.bin"], text: { maxTokens: 24 } });
  const bytes = await taken.contents["weights.bin"]!.arrayBuffer();
  expect(new Uint8Array(bytes)).toEqual(files.get("onnx/weights.bin"));
});

test("weights that a tab can't hold are refused by what the header says, and none of them is fetched", async () => {
  const { contents } = makeTinyEncoder();
  const vocabulary = 9_000_000;
  const tensors = contents.get("model.safetensors")!;
  const length = Number(new DataView(tensors.buffer).getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(tensors.subarray(8, 8 + length)).toString()) as Record<string, { shape: number[]; data_offsets: number[] }>; // prettier-ignore
  let at = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (name.endsWith("word_embeddings.weight")) tensor.shape[0] = vocabulary;
    const end = at + 4 * tensor.shape.reduce((product, size) => product * size, 1);
    tensor.data_offsets = [at, end];
    at = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(8 + json.length);
  head.writeBigUInt64LE(BigInt(json.length));
  json.copy(head, 8);
  const config = { ...JSON.parse(Buffer.from(contents.get("config.json")!).toString()), vocab_size: vocabulary };
  const files = new Map(contents)
    .set("config.json", new Uint8Array(Buffer.from(JSON.stringify(config))))
    .set("model.safetensors", new Uint8Array(head));
  const { asked, open } = meshOf(null, files, { "model.safetensors": head.length + at });
  await expect(open()).rejects.toThrow(/^its weights take 230\d MB on wasm, and a tab gives 2145 MB in one piece/);
  const ofWeights = asked.filter((line) => line.startsWith("model.safetensors"));
  expect(ofWeights.every((line) => Number(line.split("-").at(-1)) < head.length)).toBe(true);
});

test("an ONNX file that a tab can't hold is refused by its size; on a GPU its tensors beside it may be larger", async () => {
  const files = await onnxEncoder();
  const whole = meshOf("onnx/model.onnx", files, { "onnx/model.onnx": MODEL_PIECE_MAX + 1 });
  await expect(whole.open("webgpu")).rejects.toThrow("a tab gives 2145 MB in one piece");
  const beside = meshOf("onnx/model.onnx", files, { "onnx/weights.bin": MODEL_PIECE_MAX });
  await expect(beside.open("wasm")).rejects.toThrow("in one piece");
  expect([whole.asked, beside.asked]).toEqual([[], []]);
});
