import fc from "../support/fast-check.ts";
import { expect, test } from "vitest";
import { CheckpointError } from "../../engine/gguf/error.ts";
import { readGgufHeader } from "../../engine/gguf/header.ts";
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { TARGETS } from "../../engine/onnx/target.ts";
import { planPreparation, prepareInMemory } from "../../engine/prepare.ts";
import { type GgufValue, writeGguf } from "../support/gguf-writer.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const tiny = makeTinyGguf({ format: "Q4_1" });

test("weights are made in order, aligned, without overlap, and progress ends at the whole", async () => {
  for (const target of TARGETS) {
    const { layout } = await planPreparation(sourceOfBytes(tiny.bytes), { target });
    let end = 0;
    for (const { offset, byteLength } of layout.parts) {
      expect(offset % 64).toBe(0);
      expect(offset).toBeGreaterThanOrEqual(end);
      end = offset + byteLength;
    }
    expect(layout.byteLength).toBe(end);
    const seen: number[] = [];
    const { weights } = await prepareInMemory(sourceOfBytes(tiny.bytes), { target }, ({ done, total }) => {
      expect(total).toBe(end);
      seen.push(done);
    });
    expect(weights.byteLength).toBe(end);
    expect(seen).toHaveLength(layout.parts.length);
    expect(seen.at(-1)).toBe(end);
  }
});

test("a missing tensor and a wrong shape are named", async () => {
  const uint32 = (value: number): GgufValue => ({ kind: "uint32", value });
  const metadata: Record<string, GgufValue> = {
    "general.architecture": { kind: "string", value: "llama" },
    // More layers than any file has: the first that is missing ends it.
    "llama.block_count": uint32(16_000_000),
    "llama.context_length": uint32(8),
    "llama.embedding_length": uint32(4),
    "llama.feed_forward_length": uint32(4),
    "llama.attention.head_count": uint32(1),
    "llama.attention.layer_norm_rms_epsilon": { kind: "float32", value: 1e-5 },
    "tokenizer.ggml.model": { kind: "string", value: "gpt2" },
    "tokenizer.ggml.tokens": { kind: "strings", value: ["a", "b"] },
    "tokenizer.ggml.merges": { kind: "strings", value: [] },
  };
  const plan = (shape: readonly number[]): Promise<unknown> => {
    const bytes = new Uint8Array(4 * shape.reduce((product, size) => product * size, 1));
    return planPreparation(
      sourceOfBytes(writeGguf(metadata, [{ name: "token_embd.weight", shape, format: "F32", bytes }])),
      { target: "wasm" },
    );
  };
  await expect(plan([2, 4])).rejects.toThrow('the checkpoint has no tensor "blk.0.attn_norm.weight"');
  await expect(plan([4, 2])).rejects.toThrow(
    'tensor "token_embd.weight" has the shape [4, 2], but the metadata asks for [2, 4]',
  );
});

test("a tensor that would be left out is refused: a bias, for one, that llama doesn't have", async () => {
  const { bytes } = makeTinyGguf({ kind: "qwen2" });
  const renamed = Buffer.from(bytes).toString("latin1").replaceAll("qwen2", "llama");
  await expect(
    planPreparation(sourceOfBytes(Uint8Array.from(Buffer.from(renamed, "latin1"))), { target: "wasm" }),
  ).rejects.toThrow('tensor "blk.0.attn_q.bias", which a llama model is not known to have');
});

test("longrope's slots end with the context of training, unless they are to be longer", async () => {
  const source = sourceOfBytes(makeTinyGguf({ kind: "longrope" }).bytes);
  const positions = async (slotLength?: number): Promise<number> =>
    (await planPreparation(source, { target: "wasm", ...(slotLength !== undefined && { slotLength }) })).positions;
  expect([await positions(), await positions(64), await positions(65)]).toEqual([64, 64, 512]);
});

test("another tokenizer, or a list of factors that is missing, is refused before any weight is read", async () => {
  const phi = makeTinyGguf({ kind: "phi3" }).bytes;
  const change = (from: string, to: string): Uint8Array =>
    Uint8Array.from(Buffer.from(Buffer.from(phi).toString("latin1").replace(from, to), "latin1"));
  const planned = (bytes: Uint8Array): Promise<unknown> => planPreparation(sourceOfBytes(bytes), { target: "wasm" });
  await expect(planned(change("blk.0.ffn_norm.weight", "rope_factors_long.wei"))).rejects.toThrow(
    "blk.0.ffn_norm.weight",
  );
  await expect(planned(change("gpt2", "bert"))).rejects.toThrow('tokenizer model "bert" is not supported');
});

test.each(["llama", "gemma3", "phi3"] as const)(
  "%s: whatever bytes of the header are changed, planning works or is refused with a CheckpointError",
  async (kind) => {
    const whole = makeTinyGguf({ kind, format: "Q4_1" }).bytes;
    const { tensors } = await readGgufHeader(sourceOfBytes(whole));
    const headerBytes = Math.min(...[...tensors.values()].map(({ offset }) => offset));
    const change = fc.record({ at: fc.nat(headerBytes - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }) });
    const outcomes = { planned: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.constantFrom(...TARGETS),
        async (changes, target) => {
          const bytes = whole.slice();
          for (const { at, bytes: changed } of changes) bytes.set(changed.subarray(0, bytes.length - at), at);
          try {
            const { tokenizer } = await planPreparation(sourceOfBytes(bytes), { target });
            JSON.stringify(tokenizer);
            outcomes.planned++;
          } catch (error) {
            expect(error).toBeInstanceOf(CheckpointError);
            outcomes.refused++;
          }
        },
      ),
      { numRuns: 250 },
    );
    expect(outcomes.planned).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  },
);
