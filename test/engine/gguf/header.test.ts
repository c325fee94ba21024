import fc from "../../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { readModelConfig, readTokenizerMetadata } from "../../../engine/gguf/config.ts";
import { CheckpointError } from "../../../engine/gguf/error.ts";
import { type GgufHeader, readGgufHeader } from "../../../engine/gguf/header.ts";
import { type ByteSource, sourceOfBlob, sourceOfBytes } from "../../../engine/gguf/source.ts";
import { type GgufValue, writeGguf } from "../../support/gguf-writer.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

const tiny = makeTinyGguf({ format: "Q4_1" });
const read = (bytes: Uint8Array): Promise<GgufHeader> => readGgufHeader(sourceOfBytes(bytes));

describe("a well-formed file", () => {
  test("gives config, tokenizer and tensors, from an array and from a Blob", async () => {
    for (const source of [sourceOfBytes(tiny.bytes), sourceOfBlob(new Blob([tiny.bytes]))]) {
      const header = await readGgufHeader(source);
      expect(readModelConfig(header)).toEqual({ ...tiny.config, normEpsilon: Math.fround(tiny.config.normEpsilon) });
      expect(readTokenizerMetadata(header)).toEqual(tiny.tokenizerMetadata);
      expect(header.tensors.get("blk.1.attn_k.weight")).toMatchObject({
        format: "Q4_1",
        shape: [32, 64],
        byteLength: (32 * 64 * 20) / 32,
      });
      expect(header.tensors.size).toBe(2 * 9 + 3);
    }
  });

  test("is read without its tensors: a longer header than expected costs one more read", async () => {
    const long = "x".repeat(5 * 1024 * 1024);
    const bytes = writeGguf({ "general.description": { kind: "string", value: long } }, []);
    const file = new Uint8Array(bytes.length + 64 * 1024 * 1024);
    file.set(bytes);
    const lengths: number[] = [];
    const source: ByteSource = {
      size: file.length,
      read: async (offset, length) => {
        lengths.push(length);
        return file.subarray(offset, offset + length);
      },
    };
    const { metadata } = await readGgufHeader(source);
    expect(metadata.get("general.description")).toBe(long);
    expect(lengths).toEqual([4 * 1024 * 1024, 8 * 1024 * 1024]);
  });
});

/** A file by hand: magic, version, counts, then whatever the test wants. */
function file(...parts: readonly (number | bigint | string)[]): Uint8Array {
  const bytes: number[] = [];
  for (const part of parts) {
    if (typeof part === "string") bytes.push(...new TextEncoder().encode(part));
    else
      for (let i = 0; i < (typeof part === "bigint" ? 8 : 4); i++)
        bytes.push(Number((BigInt.asUintN(64, BigInt(part)) >> BigInt(8 * i)) & 255n));
  }
  return Uint8Array.from(bytes);
}
const MAGIC = "GGUF";
const text = (value: string): [bigint, string] => [BigInt(value.length), value];
const HUGE = 1n << 60n;

describe("a hostile file is refused, saying what is wrong", () => {
  test.each([
    ["no GGUF", file("PK\x03\x04", 3, 0n, 0n), /not a GGUF file/],
    ["empty", file(), /not a GGUF file/],
    ["an old version", file(MAGIC, 1, 0n, 0n), /version 1/],
    ["more tensors than allowed", file(MAGIC, 3, HUGE, 0n), /number of tensors/],
    ["more metadata than allowed", file(MAGIC, 3, 0n, HUGE), /metadata entries/],
    ["counts that the file can't hold", file(MAGIC, 3, 0n, 4096n), /cut off or damaged/],
    ["a string longer than the header may be", file(MAGIC, 3, 0n, 1n, ...text("k"), 8, HUGE), /length of a string/],
    ["a string longer than the file", file(MAGIC, 3, 0n, 1n, ...text("k"), 8, 1000n), /cut off or damaged/],
    ["an array of 2^60", file(MAGIC, 3, 0n, 1n, ...text("k"), 9, 0, HUGE), /length of "k"/],
    ["an array longer than the file", file(MAGIC, 3, 0n, 1n, ...text("k"), 9, 0, 100_000n), /cut off or damaged/],
    ["an array of arrays", file(MAGIC, 3, 0n, 1n, ...text("k"), 9, 9, 1n), /array of arrays/],
    ["an unknown type", file(MAGIC, 3, 0n, 1n, ...text("key"), 99, 0n), /unknown type 99/],
    ["a key twice", file(MAGIC, 3, 0n, 2n, ...text("key"), 4, 1, ...text("key"), 4, 1), /occurs twice/],
    ["alignment 0", file(MAGIC, 3, 0n, 1n, ...text("general.alignment"), 4, 0), /alignment/],
    ["alignment 33", file(MAGIC, 3, 0n, 1n, ...text("general.alignment"), 4, 33), /alignment/],
    ["nine dimensions", file(MAGIC, 3, 1n, 0n, ...text("t"), 9, 0, 0n, 0n, 0n), /9 dimensions/],
    [
      "a size that overflows",
      file(MAGIC, 3, 1n, 0n, ...text("t"), 2, 1n << 40n, 1n << 40n, 0, 0n),
      /too many elements/,
    ],
    ["a format that isn't read", file(MAGIC, 3, 1n, 0n, ...text("t"), 1, 256n, 10, 0n), /Q2_K.*use a file with/],
    ["half a block", file(MAGIC, 3, 1n, 0n, ...text("t"), 1, 33n, 8, 0n), /multiple of Q8_0's block/],
    ["a tensor beyond the end", file(MAGIC, 3, 1n, 0n, ...text("t"), 1, 256n, 0, 0n), /cut off; fetch it again/],
    ["an offset beyond the end", file(MAGIC, 3, 1n, 0n, ...text("t"), 1, 1n, 0, HUGE), /offset of tensor "t"/],
    [
      "a tensor twice",
      file(MAGIC, 3, 2n, 0n, ...text("t"), 1, 0n, 0, 0n, ...text("t"), 1, 0n, 0, 0n, 0n, 0n, 0n, 0n),
      /"t" occurs twice/,
    ],
  ])("%s", async (_, bytes, message) => {
    const error: unknown = await read(bytes).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(String(error)).toMatch(message);
  });

  test("arrays that are too long only together", async () => {
    const array = (key: string): Uint8Array[] => [file(...text(key), 9, 0, 3_000_000n), new Uint8Array(3_000_000)];
    const bytes = new Uint8Array(
      await new Blob([file(MAGIC, 3, 0n, 2n), ...array("one"), ...array("two")] as BlobPart[]).arrayBuffer(),
    );
    await expect(read(bytes)).rejects.toThrow(
      /the length of "two" at byte \d+ is 3000000, more than the 1194304 allowed/,
    );
  });

  test("wherever it is cut off", async () => {
    const { bytes } = tiny;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: bytes.length - 33 }), async (length) => {
        await expect(read(bytes.subarray(0, length))).rejects.toBeInstanceOf(CheckpointError);
      }),
      { numRuns: 200 },
    );
  });

  test("whatever bytes are changed: it is read, or refused with a CheckpointError", async () => {
    const headerBytes = Math.min(...[...(await read(tiny.bytes)).tensors.values()].map(({ offset }) => offset));
    const change = fc.record({ at: fc.nat(headerBytes - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 9 }) });
    const outcomes = { read: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = tiny.bytes.slice();
        for (const { at, bytes: changed } of changes) bytes.set(changed.subarray(0, bytes.length - at), at);
        try {
          const header = await read(bytes);
          readModelConfig(header);
          for (const { offset, byteLength } of header.tensors.values())
            expect(offset + byteLength).toBeLessThanOrEqual(bytes.length);
          outcomes.read++;
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
          outcomes.refused++;
        }
      }),
      { numRuns: 1_000 },
    );
    expect(outcomes.read).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});

describe("metadata that makes no model", () => {
  const uint32 = (value: number): GgufValue => ({ kind: "uint32", value });
  const good: Record<string, GgufValue> = {
    "general.architecture": { kind: "string", value: "llama" },
    "llama.block_count": uint32(2),
    "llama.context_length": uint32(512),
    "llama.embedding_length": uint32(64),
    "llama.feed_forward_length": uint32(192),
    "llama.attention.head_count": uint32(4),
    "llama.attention.layer_norm_rms_epsilon": { kind: "float32", value: 1e-5 },
    "llama.vocab_size": uint32(100),
  };
  const config = async (changes: Record<string, GgufValue>): Promise<unknown> =>
    readModelConfig(await read(writeGguf({ ...good, ...changes }, [])));

  test("defaults are llama.cpp's", async () => {
    expect(await config({})).toMatchObject({ kvHeads: 4, headDim: 16, ropeTheta: 10_000, vocabulary: 100 });
  });

  test("linear position scaling and a window", async () => {
    const changes = {
      "llama.rope.scaling.type": { kind: "string", value: "linear" },
      "llama.rope.scaling.factor": { kind: "float32", value: 4 },
      "llama.attention.sliding_window": uint32(100),
    } as const;
    expect(await config(changes)).toMatchObject({ ropeFactors: [4, 4, 4, 4, 4, 4, 4, 4], window: { length: 100 } });
  });

  test("YaRN lengthens the context, and what the file says of attention comes on top", async () => {
    const changes = {
      "llama.rope.scaling.type": { kind: "string", value: "yarn" },
      "llama.rope.scaling.factor": { kind: "float32", value: 4 },
      "llama.rope.scaling.attn_factor": { kind: "float32", value: 0.5 },
      "llama.rope.scaling.original_context_length": uint32(1_000),
    } as const;
    expect(await config(changes)).toMatchObject({
      ropeScale: 0.5 * (0.1 * Math.log(4) + 1),
      contextLength: 4_000,
      ropeFactors: [1, ...Array.from({ length: 5 }, () => expect.any(Number) as number), 4, 4],
    });
  });

  test("Gemma 3's own: what older files leave out, and the one of its sizes that scales attention otherwise", async () => {
    const gemma = (layers: number): Promise<unknown> => {
      const entries = Object.entries(good).map(([key, value]) => [key.replace("llama.", "gemma3."), value] as const);
      return config({
        ...Object.fromEntries(entries),
        "general.architecture": { kind: "string", value: "gemma3" },
        "gemma3.block_count": uint32(layers),
        "gemma3.embedding_length": uint32(1152),
        "gemma3.attention.key_length": uint32(256),
        "gemma3.attention.sliding_window": uint32(512),
      });
    };
    // sqrt(1152) = 33.94 rounded to bfloat16.
    const window = { length: 512, globalEvery: 6, ropeTheta: 10_000 };
    expect(await gemma(26)).toMatchObject({ embeddingScale: 34, headDim: 256, window });
    expect(await gemma(26)).not.toHaveProperty("attentionScale");
    expect(await gemma(62)).toMatchObject({ attentionScale: 1 / Math.sqrt(1152 / 4) });
  });

  test.each([
    [
      "another architecture",
      { "general.architecture": { kind: "string", value: "mamba" } },
      /"mamba" is not supported; supported are llama \(Llama, SmolLM2, Mistral\), qwen2/,
    ],
    ["experts", { "llama.expert_count": uint32(8) }, /a mixture of experts .*expert_count = 8/],
    ["no layers", { "llama.block_count": uint32(0) }, /block_count is 0/],
    [
      "a text for a number",
      { "llama.block_count": { kind: "string", value: "2" } },
      /block_count is 2; a positive number/,
    ],
    ["half a layer", { "llama.block_count": { kind: "float32", value: 1.5 } }, /whole number/],
    ["absurd sizes", { "llama.embedding_length": uint32(4_000_000_000) }, /embedding_length/],
    ["heads that don't divide", { "llama.attention.head_count_kv": uint32(3) }, /don't fit together/],
    [
      "rotary embedding of half a pair",
      { "llama.rope.dimension_count": uint32(7) },
      /rotary embedding of 7 of a head's 16 dimensions is not supported in llama models/,
    ],
    ["of more than there is", { "llama.rope.dimension_count": uint32(18) }, /of 18 of a head's 16 dimensions/],
    [
      "values of another size",
      { "llama.attention.value_length": uint32(8) },
      /value_length is 8: values of another size than keys \(16\)/,
    ],
    [
      "position scaling",
      { "llama.rope.scaling.type": { kind: "string", value: "dynamic" } },
      /"dynamic" is not supported/,
    ],
    [
      "a kind of YaRN that isn't the paper's",
      {
        "llama.rope.scaling.type": { kind: "string", value: "yarn" },
        "llama.rope.scaling.yarn_log_multiplier": { kind: "float32", value: 0.1 },
      },
      /"yarn" with yarn_log_multiplier is not supported/,
    ],
    [
      "longrope without its original context",
      { "llama.rope.scaling.type": { kind: "string", value: "longrope" } },
      /original_context_length is missing/,
    ],
  ] satisfies [string, Record<string, GgufValue>, RegExp][])("%s", async (_, changes, message) => {
    await expect(config(changes)).rejects.toThrow(message);
    await expect(config(changes)).rejects.toBeInstanceOf(CheckpointError);
  });
});
