/** What the small files beside an ONNX file say of its texts: tokenizer, lengths, pooling, names of classes. */
import type { TextModel } from "../graph-model.ts";
import { readPooling, readNormalises } from "../safetensors/encoder.ts";
import { readJsonFile, type RepositoryFiles } from "../safetensors/files.ts";
import { isRecord, type JsonRecord } from "../safetensors/json.ts";
import { REPOSITORY_LIMITS } from "../safetensors/limits.ts";

/** Where nothing says how long a text may be. */
const MAX_TOKENS_DEFAULT = 512;
/** What tokenizers say that know no bound is far above. */
const MAX_TOKENS_MOST = 131_072;

/** Undefined where there is no tokenizer. Throws CheckpointError for files that are damaged. */
export async function readTextModel(files: RepositoryFiles): Promise<TextModel | undefined> {
  const tokenizer = await readJsonFile(files, "tokenizer.json", REPOSITORY_LIMITS.tokenizerBytes);
  if (tokenizer === undefined) return undefined;
  const config = (await readJsonFile(files, "config.json")) ?? {};
  const tokenizerConfig = (await readJsonFile(files, "tokenizer_config.json")) ?? {};
  const sentence = (await readJsonFile(files, "sentence_bert_config.json")) ?? {};
  const lengths = [sentence["max_seq_length"], tokenizerConfig["model_max_length"], config["max_position_embeddings"]];
  return {
    tokenizerJson: { ...tokenizer, padding: null, truncation: null },
    tokenizerConfig,
    maxTokens: Math.min(...lengths.filter(isLength), lengths.some(isLength) ? Infinity : MAX_TOKENS_DEFAULT),
    vocabulary: isLength(config["vocab_size"]) ? config["vocab_size"] : REPOSITORY_LIMITS.tokens,
    padToken: typeof config["pad_token_id"] === "number" ? config["pad_token_id"] : 0,
    pooling: await readPooling(files),
    // Folders that were converted to ONNX have lost the list of modules: their vectors are brought to length 1, as OpenAI's are.
    normalises: (await files.open("modules.json")) === undefined || (await readNormalises(files)),
    labels: labelsOf(config),
    isMultiLabel: config["problem_type"] === "multi_label_classification",
  };
}

const isLength = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) > 0 && (value as number) <= MAX_TOKENS_MOST;

/** By their ids, which are keys of `id2label`. */
function labelsOf(config: JsonRecord): string[] {
  const names = config["id2label"];
  if (!isRecord(names)) return [];
  return Object.keys(names)
    .toSorted((a, b) => Number(a) - Number(b))
    .map((id) => String(names[id]));
}
