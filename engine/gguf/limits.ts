/** Bounds of what a checkpoint's header may ask for. A header comes from a stranger: every count in it is checked against these. */

const MEBIBYTE = 1024 * 1024;

export const GGUF_LIMITS = {
  /** Bytes of the first read. Half a megabyte of tensors' descriptions beside a vocabulary of 50,000 tokens fits. */
  firstReadBytes: 4 * MEBIBYTE,
  /** Bytes of metadata and tensor descriptions together. Gemma's 262,144 tokens take about 20 MiB. */
  headerBytes: 128 * MEBIBYTE,
  /** Entries of metadata. Files in the wild have fewer than 100. */
  metadataEntries: 4_096,
  /** Elements of all arrays of the metadata together. The largest vocabularies have 262,144 tokens with as many merges, scores and types. */
  arrayElements: 4 * MEBIBYTE,
  /** Tensors. Mixtures of experts have about 2,000. */
  tensors: 65_536,
  /** Bytes of a key or a tensor's name, as in the GGUF specification. */
  nameBytes: 65_535,
  /** Dimensions of a tensor, as in ggml. */
  dimensions: 4,
  /** Bytes of `general.alignment`. */
  alignment: 65_536,
} as const;
