/** Bounds of what a repository's small files may ask for: they come from strangers. In bytes, unless said otherwise. */

const MEBIBYTE = 1024 * 1024;

export const REPOSITORY_LIMITS = {
  /** Of a safetensors file's header: 100 bytes a tensor. */
  headerBytes: 16 * MEBIBYTE,
  /** Tensors of a file. */
  tensors: 65_536,
  /** Dimensions of a tensor. */
  dimensions: 8,
  /** Of config.json and its like. */
  configBytes: 1 * MEBIBYTE,
  /** Of the list that says which tensor is in which shard. */
  indexBytes: 16 * MEBIBYTE,
  /** Shards of a model: 405B has 191. */
  shards: 512,
  /** Of tokenizer.json: Gemma's has 33 MiB. */
  tokenizerBytes: 64 * MEBIBYTE,
  /** Ids of a vocabulary: guards the array that is indexed by them. */
  tokens: 4_194_304,
} as const;
