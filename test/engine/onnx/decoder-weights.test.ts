/** Language models as exporters to ONNX write them: our graph, made from their weights, against theirs, run by ONNX Runtime. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { afterAll, describe, expect, test } from "vitest";
import { Folder } from "../../../engine/node/folder.ts";
import { openPrepared, prepareCached } from "../../../engine/node/prepared-cache.ts";
import { dequantise } from "../../../engine/gguf/dequantise.ts";
import { byteForm, byteRows, nBitRows, transposed } from "../../../engine/onnx/exported-forms.ts";
import { createNativeRunner } from "../../../engine/providers/native.ts";
import { openRepository } from "../../../engine/safetensors/checkpoint.ts";
import exact from "../../fixtures/onnx-decoders-exact.json" with { type: "json" };

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const FOLDER = fileURLToPath(new URL("../../fixtures/onnx-decoders/", import.meta.url));
const work = mkdtempSync(join(tmpdir(), "skein-onnx-decoders-"));
afterAll(() => rmSync(work, { recursive: true }));

const TOKENS = [5, 99, 7, 200, 41, 41, 3, 130, 77, 16, 8, 250];
/** More than the context of training of the one with two lists of factors. */
const MANY = Array.from({ length: 80 }, (_, i) => (37 * i + 5) % 264);

/** The logits behind the last token, by the exported graph itself. */
async function exportedLogits(name: string, tokens: readonly number[]): Promise<number[]> {
  const [file] = readdirSync(join(FOLDER, name, "onnx")).filter((each) => each.endsWith(".onnx"));
  const session = await ort.InferenceSession.create(join(FOLDER, name, "onnx", file!), { logSeverityLevel: 3 });
  const ints = (values: readonly number[]): ort.Tensor =>
    new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  const feeds: Record<string, ort.Tensor> = {};
  for (const input of session.inputMetadata) {
    if (input.name === "input_ids") feeds[input.name] = ints(tokens);
    else if (input.name === "attention_mask") feeds[input.name] = ints(tokens.map(() => 1));
    else if (input.name === "position_ids") feeds[input.name] = ints([...tokens.keys()]);
    else if (input.isTensor) {
      const [, heads, , size] = input.shape as number[];
      const values = input.type === "float16" ? new Float16Array(0) : new Float32Array(0);
      feeds[input.name] = new ort.Tensor(input.type, values as never, [1, heads!, 0, size!]);
    }
  }
  const { logits } = await session.run(feeds, ["logits"]);
  const rows = Array.from(logits!.data as Float32Array, Number);
  await session.release();
  return rows.slice(-rows.length / tokens.length);
}

async function ourLogits(folder: string, tokens: readonly number[] = TOKENS): Promise<number[]> {
  const slotLength = tokens.length + 20;
  const cache = join(work, "cache");
  const directory = await prepareCached({ file: folder, target: "f32", cache, now: Date.now(), slotLength });
  const runner = await createNativeRunner(await openPrepared(directory), { slots: 1, slotLength, threads: 1 });
  const logits = [...(await runner.prefill(0, Int32Array.from(tokens), 0, true))!];
  await runner.release();
  return logits;
}

describe("the weights of an exported model", () => {
  // f32 but for rounding; f16 in the other graph's activations; int8 in those of the others.
  test.each([
    ["llama-optimum", 1e-3, TOKENS],
    ["qwen3-genai-fp16", 0.1, TOKENS],
    ["qwen2-genai-int4", 0.25, TOKENS],
    ["phi3-genai-fp32", 1e-3, TOKENS],
    ["phi3-genai-fp32", 1e-3, MANY],
    ["gemma3-optimum-unfolded", 1e-3, TOKENS],
    ["llama-optimum-uint8", 0.3, TOKENS],
    ["llama-optimum-int8", 0.3, TOKENS],
    ["phi3-genai-int8", 0.3, MANY],
  ])("%s: our logits are the exported graph's", async (name, tolerance, tokens) => {
    const [theirs, ours] = await Promise.all([exportedLogits(name, tokens), ourLogits(join(FOLDER, name), tokens)]);
    expect(ours).toHaveLength(theirs.length);
    const spread = Math.sqrt(theirs.reduce((sum, value) => sum + value ** 2, 0) / theirs.length);
    const worst = Math.max(...theirs.map((value, i) => Math.abs(value - ours[i]!)));
    expect(spread).toBeGreaterThan(1);
    expect(worst).toBeLessThan(tolerance);
  });

  test.each(Object.entries(exact))("%s: its bytes are taken at their exact values", async (name, expected) => {
    const ours = await ourLogits(join(FOLDER, name), name.startsWith("phi3") ? MANY : TOKENS);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - ours[i]!)))).toBeLessThan(1e-4);
  });

  test("a head that is tied to the embeddings stays where it was quantised by itself", async () => {
    const formats = async (name: string): Promise<unknown[]> => {
      const folder = new Folder(join(FOLDER, name));
      const { tensors } = (await openRepository(folder)).checkpoint;
      await folder.close();
      return ["token_embd", "output", "blk.0.attn_q"].map((each) => tensors.get(`${each}.weight`)?.format);
    };
    expect(await formats("llama-optimum")).toEqual(["F32", undefined, "F32"]);
    expect(await formats("llama-optimum-int8")).toEqual(["I8_1", "I8_0", "I8_0"]);
    expect(await formats("llama-optimum-uint8")).toEqual(["I8_1", "I8_1", "I8_1"]);
  });

  test("a tensor that would be left out, or whose file is missing, is refused by name", async () => {
    const copy = (
      name: string,
      change: (bytes: Buffer) => Buffer,
      of = "qwen3-genai-fp16",
      graph = "onnx/model.onnx",
    ): string => {
      const folder = join(work, name);
      cpSync(join(FOLDER, of), folder, { recursive: true });
      const file = join(folder, graph);
      writeFileSync(file, change(readFileSync(file)));
      return folder;
    };
    const replaced = (from: string, to: string) => (bytes: Buffer) =>
      Buffer.from(bytes.toString("latin1").replaceAll(from, to), "latin1");
    const unknown = copy("unknown", replaced("MatMul", "MatNul"));
    await expect(ourLogits(unknown)).rejects.toThrow(
      '"model.layers.0.attn.q_proj.MatNul.weight" (type 10) in a way that isn\'t known',
    );
    const strange = copy("strange", replaced("/mlp/up_proj/MatMul", "/mlp/up_prof/MatMul"));
    await expect(ourLogits(strange)).rejects.toThrow("blk.0.ffn_up.weight");
    const unscaled = copy("unscaled", replaced("Cast", "Cost"), "llama-optimum-int8", "onnx/model_int8.onnx");
    await expect(ourLogits(unscaled)).rejects.toThrow("q_proj.weight in bytes in a way that isn't known");
    const lost = copy("lost", replaced("model.onnx.data", "nodel.onnx.data"));
    await expect(ourLogits(lost)).rejects.toThrow("nodel.onnx.data");
  });
});

test("rows of n bits: zero points packed for each row, the middle where there are none, scales for each block", () => {
  const f32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
  const floats = (bytes: Uint8Array): number[] => [...new Float32Array(bytes.buffer)];
  const eight = { rows: 2, columns: 3, bits: 8, block: 16, scaleFormat: "F32", scales: f32(1, 0.5) } as const;
  const quants = new Uint8Array(32);
  quants.set([128, 130, 0], 0);
  quants.set([7, 8, 9], 16);
  expect(floats(nBitRows({ ...eight, quants, zeros: undefined }))).toEqual([0, 2, -128, -60.5, -60, -59.5]);
  expect(floats(nBitRows({ ...eight, quants, zeros: Uint8Array.of(128, 7) }))).toEqual([0, 2, -128, 0, 0.5, 1]);
  // Two blocks of 2 in a row of 4: one byte of zero points a row.
  const four = { rows: 1, columns: 4, bits: 4, block: 2, scaleFormat: "F32", scales: f32(1, 10) } as const;
  expect(floats(nBitRows({ ...four, quants: Uint8Array.of(0x98, 0x21), zeros: Uint8Array.of(0x18) }))).toEqual([
    0, 1, 0, 10,
  ]);
});

describe("rows of bytes", () => {
  const quants = Uint8Array.from({ length: 64 }, (_, i) => (i * 37) % 256);
  const values = (isSigned: boolean, scales: number[], zeros: number[]): number[] =>
    [...quants].map((byte, i) => {
      const row = Math.floor(i / 32);
      const number = (of: number): number => (isSigned && of > 127 ? of - 256 : of);
      return scales[row % scales.length]! * (number(byte) - number(zeros[row % zeros.length]!));
    });

  test.each([
    ["int8 around zero", true, [0.5, 2], [0, 0], "I8_0"],
    ["int8 around something else", true, [0.5, 2], [3, 250], "I8_1"],
    ["uint8 around the middle", false, [0.25], [128], "I8_0"],
    ["uint8 around something else", false, [0.25], [140], "I8_1"],
    ["uint8, a zero point a row", false, [1, 4], [0, 255], "I8_1"],
  ] as const)("%s: exact", (_, isSigned, scales, zeros, format) => {
    const matrix = { rows: 2, columns: 32, quants, isSigned };
    const given = { ...matrix, scales: Float32Array.from(scales), zeros: Uint8Array.from(zeros) };
    expect(byteForm(given)).toBe(format);
    expect([...dequantise(format, byteRows(given))]).toEqual(values(isSigned, [...scales], [...zeros]));
    // Rows that aren't whole blocks are floats.
    const narrow = {
      ...given,
      rows: 4,
      columns: 16,
      scales: given.scales.subarray(0, 1),
      zeros: given.zeros.subarray(0, 1),
    };
    expect(byteForm(narrow)).toBe("F32");
    expect([...dequantise("F32", byteRows(narrow))]).toEqual(values(isSigned, [scales[0]], [zeros[0]]));
  });
});

test("columns become rows, wherever the bytes lie", () => {
  const shifted = new Uint8Array(13);
  new DataView(shifted.buffer).setUint16(1, 0x0101, true);
  [1, 2, 3, 4, 5, 6].forEach((value, i) => new DataView(shifted.buffer).setUint16(1 + 2 * i, value, true));
  expect([...new Uint16Array(transposed(shifted.subarray(1), 2, 3, 2).buffer)]).toEqual([1, 4, 2, 5, 3, 6]);
});
