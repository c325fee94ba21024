/** A repository's `tokenizer.json` and `tokenizer_config.json` as a description. Knows BPE, byte-level or SentencePiece's; refuses the others by name. */
import { CheckpointError } from "../gguf/error.ts";
import { isRecord, type JsonRecord } from "../safetensors/json.ts";
import { REPOSITORY_LIMITS } from "../safetensors/limits.ts";
import { endTokensOf, type TokenizerDescription } from "./description.ts";
import { withAllDigits } from "./pre-tokenizers.ts";

export interface RepositoryTokenizer {
  /** tokenizer.json */
  readonly tokenizer: JsonRecord;
  /** tokenizer_config.json */
  readonly tokenizerConfig: JsonRecord;
  /** What config.json and generation_config.json call ends of sequence. */
  readonly endTokens: readonly unknown[];
  /** chat_template.jinja, which comes before the one in tokenizer_config.json. */
  readonly chatTemplate: string | undefined;
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly isSpecial: boolean;
}

const fail = (what: string): never => {
  throw new CheckpointError(`tokenizer.json: ${what}`);
};

/** Throws CheckpointError naming what is malformed or not supported. */
export function describeRepositoryTokenizer(files: RepositoryTokenizer): TokenizerDescription {
  const { tokenizer, tokenizerConfig } = files;
  const { model, added_tokens: addedTokens = [] } = tokenizer;
  if (!isRecord(model)) return fail("there is no model in it");
  if (model["type"] !== "BPE")
    return fail(`the model ${JSON.stringify(model["type"] ?? null)} is not supported, only "BPE" is`);
  const { vocab } = model;
  if (!isRecord(vocab)) return fail("the model has no vocab");
  if (!Array.isArray(model["merges"])) return fail("the model has no merges");
  const added = addedOf(addedTokens);
  const tokens: string[] = [];
  const place = (token: string, id: unknown): void => {
    if (!isId(id)) return fail(`the token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}`);
    while (tokens.length < id) tokens.push("");
    tokens[id] = token;
  };
  for (const [token, id] of Object.entries(vocab)) place(token, id);
  for (const { content, id } of added) place(content, id);

  const ids = new Map(added.map(({ content, id }) => [content, id]));
  const idOf = (key: string): number | undefined => {
    const named = tokenizerConfig[key];
    const content = isRecord(named) ? named["content"] : named;
    return typeof content === "string"
      ? (ids.get(content) ?? (isId(vocab[content]) ? vocab[content] : undefined))
      : undefined;
  };
  const controlTokens = added.filter(({ isSpecial }) => isSpecial).map(({ id }) => id);
  const [bosToken, eosToken] = [idOf("bos_token"), idOf("eos_token")];
  return {
    // Start tokens are put first by us, and text is made of bytes: what the library would do is left out.
    tokenizerJson: {
      ...tokenizer,
      pre_tokenizer: withAllDigits(tokenizer["pre_tokenizer"]),
      ...{ post_processor: null, decoder: null, padding: null, truncation: null },
    },
    spelling: spellingOf(tokenizer, model),
    tokens,
    controlTokens,
    literalTokens: added.filter(({ isSpecial }) => !isSpecial).map(({ id }) => id),
    endTokens: endTokensOf([eosToken, ...files.endTokens.filter(isId)], tokens, controlTokens),
    bosToken,
    eosToken,
    addBosToken: bosToken !== undefined && addsBos(tokenizer, tokenizerConfig, tokens[bosToken]!),
    chatTemplate: files.chatTemplate ?? templateOf(tokenizerConfig["chat_template"]),
  };
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < REPOSITORY_LIMITS.tokens;
}

function addedOf(entries: unknown): AddedToken[] {
  if (!Array.isArray(entries)) return fail("added_tokens isn't a list");
  return entries.map((entry: unknown) => {
    if (!isRecord(entry) || !isId(entry["id"]) || typeof entry["content"] !== "string")
      return fail("an entry of added_tokens has no id or content");
    return { id: entry["id"], content: entry["content"], isSpecial: entry["special"] === true };
  });
}

/** By the decoder: how tokens become bytes. */
function spellingOf({ decoder }: JsonRecord, model: JsonRecord): TokenizerDescription["spelling"] {
  const types = typesIn(decoder);
  if (types.includes("ByteLevel")) return "byte-level";
  if (types.includes("ByteFallback") || model["byte_fallback"] === true) return "sentencepiece";
  return fail(
    `the decoder ${JSON.stringify(types.join(", "))} is not supported, only "ByteLevel" and "ByteFallback" are`,
  );
}

function typesIn(step: unknown): string[] {
  if (!isRecord(step)) return [];
  const inner = Array.isArray(step["decoders"]) ? step["decoders"].flatMap(typesIn) : [];
  return typeof step["type"] === "string" ? [step["type"], ...inner] : inner;
}

/** Whether a start token goes first: said outright, or by a template that begins with it. */
function addsBos({ post_processor: processor }: JsonRecord, config: JsonRecord, bos: string): boolean {
  if (typeof config["add_bos_token"] === "boolean") return config["add_bos_token"];
  const steps = isRecord(processor)
    ? [processor, ...(Array.isArray(processor["processors"]) ? (processor["processors"] as unknown[]) : [])]
    : [];
  return steps.some((step) => {
    const first: unknown = isRecord(step) && Array.isArray(step["single"]) ? step["single"][0] : undefined;
    const special = isRecord(first) ? first["SpecialToken"] : undefined;
    return isRecord(special) && special["id"] === bos;
  });
}

/** A template, or the one called "default" of several. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named: unknown = value.find((entry: unknown) => isRecord(entry) && entry["name"] === "default");
  return isRecord(named) && typeof named["template"] === "string" ? named["template"] : undefined;
}
