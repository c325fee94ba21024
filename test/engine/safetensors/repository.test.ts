import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { CheckpointError } from "../../../engine/gguf/error.ts";
import { openPrepared, prepareCached } from "../../../engine/node/prepared-cache.ts";
import { convertInMemory, planCheckpoint } from "../../../engine/prepare.ts";
import { createNativeRunner } from "../../../engine/providers/native.ts";
import { createReferenceRunner } from "../../../engine/reference/decoder.ts";
import { openRepository } from "../../../engine/safetensors/checkpoint.ts";
import { readRepositoryConfig } from "../../../engine/safetensors/config.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import { expectClose } from "../../support/expected-logits.ts";
import { SCRIPT_SLOTS, scriptedLogits } from "../../support/scripted-logits.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { filesOf, makeTinyRepository, type TinyRepository } from "../../support/tiny-repository.ts";

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

test.each([
  { kind: "llama", shards: 3, type: "BF16" },
  { kind: "qwen2", shards: 1, type: "F32" },
  { kind: "qwen3", shards: 2, type: "F16" },
  { kind: "gemma3", shards: 1, type: "F32" },
  { kind: "phi3", shards: 1, type: "BF16" },
] as const)("$kind as $type in $shards files runs as the oracle does", async ({ kind, shards, type }) => {
  const { contents, config, weights } = makeTinyRepository(kind, { shards, type });
  const { checkpoint, source } = await openRepository(filesOf(contents));
  expect(checkpoint.config).toEqual(config);
  for (const target of ["f32", "native"] as const) {
    const prepared = await convertInMemory(planCheckpoint(checkpoint, { target }), source);
    const runner = await createNativeRunner(prepared, { ...SCRIPT_SLOTS, threads: 1 });
    try {
      const expected = await scriptedLogits(createReferenceRunner(config, weights, SCRIPT_SLOTS));
      expectClose(await scriptedLogits(runner), expected, 2e-3);
    } finally {
      await runner.release();
    }
  }
});

test("the tokenizer is that of the GGUF file with the same vocabulary", async () => {
  const { checkpoint } = await openRepository(filesOf(makeTinyRepository("gemma3").contents));
  const tokenizer = new Tokenizer(checkpoint.tokenizer);
  const other = Tokenizer.fromGguf(makeTinyGguf().tokenizerMetadata);
  for (const text of ["Could you explain what is dask? 1234", "naïve café, 世界 🙂\n\n  x", "<|im_start|>user"]) {
    expect(tokenizer.encode(text)).toEqual(other.encode(text));
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(other.decode(other.encode(text)));
  }
  const messages = [{ role: "user", content: "Hi" }];
  expect(tokenizer.encodeChat(messages)).toEqual(other.encodeChat(messages));
  expect([509, 510, 511, 5].map((id) => tokenizer.isEnd(id))).toEqual([true, true, true, false]);
});

const changed = (repository: TinyRepository, file: string, change: (value: Record<string, never>) => object | void) => {
  const value = JSON.parse(Buffer.from(repository.contents.get(file)!).toString()) as Record<string, never>;
  const contents = new Map(repository.contents);
  contents.set(file, new Uint8Array(Buffer.from(JSON.stringify(change(value) ?? value))));
  return openRepository(filesOf(contents));
};

describe("tokenizer files", () => {
  const repository = makeTinyRepository("llama");
  const described = async (file: string, change: (value: Record<string, never>) => object | void) =>
    (await changed(repository, file, change)).checkpoint.tokenizer;

  test("a start token goes first where the configuration or the post-processor says so", async () => {
    expect((await described("tokenizer_config.json", () => {})).addBosToken).toBe(false);
    expect((await described("tokenizer_config.json", (v) => ({ ...v, add_bos_token: true }))).addBosToken).toBe(true);
    const single = [{ SpecialToken: { id: "<|im_start|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
    const template = { type: "TemplateProcessing", single };
    expect((await described("tokenizer.json", (v) => ({ ...v, post_processor: template }))).addBosToken).toBe(true);
    const sequence = { type: "Sequence", processors: [{ type: "ByteLevel" }, template] };
    expect((await described("tokenizer.json", (v) => ({ ...v, post_processor: sequence }))).addBosToken).toBe(true);
  });

  test("chat_template.jinja comes first, then the template called default", async () => {
    const contents = new Map(repository.contents).set("chat_template.jinja", new Uint8Array(Buffer.from("A")));
    expect((await openRepository(filesOf(contents))).checkpoint.tokenizer.chatTemplate).toBe("A");
    const named = [
      { name: "tool_use", template: "T" },
      { name: "default", template: "D" },
    ];
    expect((await described("tokenizer_config.json", (v) => ({ ...v, chat_template: named }))).chatTemplate).toBe("D");
  });

  test.each([
    [(v) => ({ ...v, model: { type: "Unigram" } }), 'model "Unigram" is not supported'],
    [(v) => ({ ...v, decoder: { type: "WordPiece" } }), 'decoder "WordPiece" is not supported'],
    [
      (v) => ({ ...v, model: { ...(v["model"] as unknown as object), vocab: { a: 1e12 } } }),
      'the token "a" has the id 1000000000000',
    ],
    [(v) => ({ ...v, added_tokens: [{ id: "x" }] }), "added_tokens has no id"],
  ] satisfies [(value: Record<string, never>) => object, string][])("refused, case %#", async (change, message) => {
    await expect(described("tokenizer.json", change)).rejects.toThrow(message);
  });
});

describe("config.json", () => {
  const config = (kind: "llama" | "gemma3" = "llama"): Record<string, unknown> =>
    JSON.parse(Buffer.from(makeTinyRepository(kind).contents.get("config.json")!).toString()) as Record<
      string,
      unknown
    >;

  test.each([
    [{ architectures: ["MambaForCausalLM"] }, '"MambaForCausalLM" is not supported; supported are LlamaForCausalLM'],
    [{ quantization_config: { quant_method: "gptq" } }, "a quantised repository (config.json: quantization_config"],
    [{ rope_scaling: { type: "dynamic", factor: 2 } }, 'position scaling "dynamic" is not supported'],
    [{ rope_scaling: { type: "yarn", factor: 2, mscale: 1 } }, 'position scaling "yarn" with mscale is not supported'],
    [{ rope_scaling: { type: "longrope" } }, "original_max_position_embeddings is missing"],
    [
      { rope_scaling: { type: "su", original_max_position_embeddings: 64, short_factor: [1] } },
      "short_factor must be a list of 8 positive numbers",
    ],
    [{ hidden_act: "relu2" }, 'activation "relu2" is not supported in llama'],
    [{ attention_bias: true }, "a bias of attention"],
    [{ partial_rotary_factor: 0.7 }, "rotary embedding of 11 of a head's 16 dimensions is not supported in llama"],
    [
      { architectures: ["Qwen3ForCausalLM"], partial_rotary_factor: 0.5 },
      "rotary embedding of 8 of a head's 16 dimensions is not supported in qwen3",
    ],
    [{ hidden_size: "64" }, 'hidden_size is "64"; a positive number'],
    [{ num_hidden_layers: 1.5 }, "num_hidden_layers is 1.5; a whole number"],
    [{ num_key_value_heads: 3 }, "don't fit together"],
    [{ final_logit_softcapping: 30 }, "soft capping of logits"],
  ])("%j is refused", (change, message) => {
    expect(() => readRepositoryConfig({ ...config(), ...change })).toThrow(CheckpointError);
    expect(() => readRepositoryConfig({ ...config(), ...change })).toThrow(message);
  });

  test("Llama 3's stretched frequencies: wave by wave as its authors state it", () => {
    const scaling = {
      rope_type: "llama3",
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const { ropeFactors } = readRepositoryConfig({
      ...config(),
      head_dim: 64,
      rope_theta: 500_000,
      rope_scaling: scaling,
    });
    const expected = Array.from({ length: 32 }, (_, i) => {
      const wave = 2 * Math.PI * 500_000 ** ((2 * i) / 64);
      if (wave < 8192 / 4) return 1;
      if (wave > 8192 / 1) return 32;
      const smooth = (8192 / wave - 1) / (4 - 1);
      return 1 / wave / (((1 - smooth) * (1 / wave)) / 32 + (smooth * 1) / wave);
    });
    expected.forEach((factor, i) => expect(ropeFactors![i]).toBeCloseTo(factor, 10));
    expect(new Set(expected).size).toBeGreaterThan(3);
  });

  test("Gemma's layers by list, its bases as version 5 of the library writes them, 27B's scale", () => {
    const layer_types = Array.from({ length: 8 }, (_, i) =>
      (i + 1) % 4 === 0 ? "full_attention" : "sliding_attention",
    );
    const rope_parameters = {
      full_attention: { rope_theta: 77, rope_type: "default" },
      sliding_attention: { rope_theta: 33 },
    };
    const read = readRepositoryConfig({
      ...config("gemma3"),
      layer_types,
      rope_parameters,
      query_pre_attn_scalar: 168,
    });
    expect(read).toMatchObject({
      ropeTheta: 77,
      window: { globalEvery: 4, ropeTheta: 33 },
      attentionScale: 168 ** -0.5,
    });
    expect(read.ropeFactors).toBeUndefined();
    expect(() =>
      readRepositoryConfig({
        ...config("gemma3"),
        layer_types: ["sliding_attention", "full_attention", "full_attention"],
      }),
    ).toThrow("no regular pattern");
  });
});

test("a missing file, head or tensor, and one too many, are named", async () => {
  const repository = makeTinyRepository("llama", { shards: 2 });
  const without = (name: string) =>
    openRepository(filesOf(new Map([...repository.contents].filter(([file]) => file !== name))));
  await expect(without("config.json")).rejects.toThrow("the repository has no config.json");
  await expect(without("tokenizer.json")).rejects.toThrow("the repository has no tokenizer.json");
  await expect(without("model-00002-of-00002.safetensors")).rejects.toThrow("no model-00002-of-00002.safetensors");
  const tied = makeTinyRepository("gemma3");
  await expect(changed(tied, "config.json", (v) => ({ ...v, tie_word_embeddings: false }))).rejects.toThrow(
    "lm_head.weight",
  );
  const qwen = makeTinyRepository("qwen2");
  const { checkpoint } = await changed(qwen, "config.json", (v) => ({ ...v, architectures: ["LlamaForCausalLM"] }));
  expect(() => planCheckpoint(checkpoint, { target: "native" })).toThrow(
    'a tensor "model.layers.0.self_attn.q_proj.bias", which a llama model is not known to have',
  );
});

test("a folder on disk is prepared once, by the hash of all that matters", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skein-repository-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const [repository, cache] = [join(folder, "model"), join(folder, "cache")];
  await mkdir(repository);
  const { contents } = makeTinyRepository("llama", { shards: 2 });
  for (const [name, bytes] of contents) await writeFile(join(repository, name), bytes);
  const prepare = () => prepareCached({ file: repository, target: "native", cache, now: 0 });
  const directory = await prepare();
  expect((await openPrepared(directory)).config.architecture).toBe("llama");
  await writeFile(join(repository, "README.md"), "not part of it");
  expect(await prepare()).toBe(directory);
  await writeFile(join(repository, "chat_template.jinja"), "another");
  expect(await prepare()).not.toBe(directory);
  expect(await readdir(cache)).toHaveLength(2);
});
