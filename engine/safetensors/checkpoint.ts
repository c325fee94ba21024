/** A repository of the Transformers library as a checkpoint: config.json, tokenizer.json, and safetensors or what was exported to ONNX. Knows the library's names of tensors. */
import type { Checkpoint, CheckpointTensor } from "../checkpoint.ts";
import { isBlockFormat } from "../gguf/blocks.ts";
import { splitFused } from "../gguf/checkpoint.ts";
import { CheckpointError } from "../gguf/error.ts";
import type { TensorFormat } from "../gguf/format.ts";
import type { ByteSource } from "../gguf/source.ts";
import { describeRepositoryTokenizer } from "../tokenizer/from-repository.ts";
import type { ArchitectureName } from "../types.ts";
import { readDecoderWeights } from "../onnx/decoder-weights.ts";
import { readRepositoryConfig } from "./config.ts";
import { onnxFile, openShards, readJsonFile, readTextFile, type RepositoryFiles, requireJsonFile } from "./files.ts";
import type { SafetensorsTensor } from "./header.ts";
import { REPOSITORY_LIMITS } from "./limits.ts";

const FORMATS: Readonly<Record<string, TensorFormat>> = { F32: "F32", F16: "F16", BF16: "BF16" };

/** GGUF's names of what lies outside the layers, and in each. */
const OUTSIDE: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
};
const IN_LAYER: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.qkv_proj": "attn_qkv",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  post_attention_layernorm: "ffn_norm",
  pre_feedforward_layernorm: "ffn_norm",
  post_feedforward_layernorm: "post_ffw_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.gate_up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
/** Tables that older versions of the library stored and everybody computes. */
const COMPUTED = /\.rotary_emb\.inv_freq$/;

/** Reads config, tokenizer and the shards' headers. Throws CheckpointError for whatever can't be run, by its name. */
export async function openRepository(
  files: RepositoryFiles,
): Promise<{ readonly checkpoint: Checkpoint; readonly source: ByteSource }> {
  const config = await requireJsonFile(files, "config.json");
  const modelConfig = readRepositoryConfig(config);
  const tokenizer = describeRepositoryTokenizer({
    tokenizer: await requireJsonFile(files, "tokenizer.json", REPOSITORY_LIMITS.tokenizerBytes),
    tokenizerConfig: (await readJsonFile(files, "tokenizer_config.json", REPOSITORY_LIMITS.indexBytes)) ?? {},
    endTokens: [config["eos_token_id"], (await readJsonFile(files, "generation_config.json"))?.["eos_token_id"]].flat(),
    chatTemplate: await readTextFile(files, "chat_template.jinja"),
  });
  const { architecture } = modelConfig;
  const exported = await onnxFile(files);
  const { source, tensors } =
    exported === undefined ? await openTensors(files) : await readDecoderWeights(files, exported);
  const isTied = config["tie_word_embeddings"] ?? architecture === "gemma3";
  const named = new Map([...tensors].map(([name, tensor]) => [ggufName(name, architecture), tensor]));
  // A tied head is sometimes stored twice; one that was quantised by itself is another.
  if (isTied === true && !isQuantised(named.get("output.weight"))) named.delete("output.weight");
  else if (isTied !== true && !named.has("output.weight"))
    throw new CheckpointError('the checkpoint has no tensor "lm_head.weight", but its embeddings aren\'t tied');
  return {
    source,
    checkpoint: {
      config: modelConfig,
      tensors: splitFused(named, modelConfig),
      rotaryPairs: "halves",
      // Exporters to ONNX add it.
      normOffset: architecture === "gemma3" && exported === undefined ? 1 : 0,
      tokenizer,
    },
  };
}

const isQuantised = (tensor: CheckpointTensor | undefined): boolean =>
  tensor !== undefined && isBlockFormat(tensor.format);

async function openTensors(
  files: RepositoryFiles,
): Promise<{ readonly source: ByteSource; readonly tensors: ReadonlyMap<string, CheckpointTensor> }> {
  const { source, tensors } = await openShards(files);
  return { source, tensors: renamed(tensors, (name) => (COMPUTED.test(name) ? undefined : name)) };
}

/** The tensors under the names that `nameOf` gives; those without one are left out. */
export function renamed(
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  nameOf: (name: string) => string | undefined,
): Map<string, CheckpointTensor> {
  const named = new Map<string, CheckpointTensor>();
  for (const [name, { type, shape, offset, byteLength }] of tensors) {
    const own = nameOf(name);
    if (own === undefined) continue;
    const format = FORMATS[type];
    if (format === undefined) {
      throw new CheckpointError(
        `tensor ${JSON.stringify(name)} is stored as ${type}, which can't be read; use a repository with F32, F16 or BF16 tensors`,
      );
    }
    named.set(own, { name, format, shape, offset, byteLength });
  }
  return named;
}

/** An unknown name stays what it is, and is refused when nobody asks for it. */
function ggufName(name: string, architecture: ArchitectureName): string {
  const outside = Object.hasOwn(OUTSIDE, name) ? OUTSIDE[name] : undefined;
  if (outside !== undefined) return outside;
  const [, layer, part, kind] = /^model\.layers\.(\d+)\.([\w.]+)\.(weight|bias)$/.exec(name) ?? [];
  if (part === undefined) return name;
  // Gemma has a norm behind attention as well as one in front of the feed-forward layer.
  if (part === "post_attention_layernorm" && architecture === "gemma3")
    return `blk.${layer}.post_attention_norm.${kind}`;
  const own = Object.hasOwn(IN_LAYER, part) ? IN_LAYER[part] : undefined;
  return own === undefined ? name : `blk.${layer}.${own}.${kind}`;
}
