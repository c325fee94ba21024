/** What is said of a model of the catalogue before it is here: what it is, and the memory that it takes. Pure. */

/** Facts of a model that no fetch is needed for. Counts are of parameters. */
export interface About {
  readonly licence: string;
  /** Whose hub repository it was made from, where that asks everybody to accept its terms first. */
  readonly original?: string;
  /** All but the table of tokens, which is also the last matrix of each of these models. */
  readonly matrices: number;
  readonly embedding: number;
  /** Of a matrix's weight in the file. */
  readonly bits: 4 | 8 | 32;
  /** Of keys and values, bytes for each token of a slot; 0: it keeps none. */
  readonly bytesPerToken: number;
}

/** Bytes of weights in memory. */
export type Weights = Readonly<Record<"native" | "webgpu" | "wasm", number>>;

export interface KnownModel {
  readonly name: string;
  /** Where it comes from first: a name of the hub. */
  readonly source: string;
  readonly bytes: number;
  /** Whether `bytes` is of a content that was pinned; else it is about right. */
  readonly isPinned: boolean;
  readonly licence: string;
  readonly original: string | null;
  /** About right. */
  readonly weights: Weights;
  readonly bytesPerToken: number;
}

/** `source`: a name of the hub. */
export function knownModel(
  { name, bytes, about }: { readonly name: string; readonly bytes: number; readonly about: About },
  source: string,
  isPinned: boolean,
): KnownModel {
  const { licence, original = null, bytesPerToken } = about;
  return { name, source, bytes, isPinned, licence, original, weights: weightsOf(about), bytesPerToken };
}

/** Bytes of a parameter with its share of a block's scale, and of a 4-bit one's offset: as engine/onnx/target.ts and engine/kernels/forms.ts decide. */
const INT8 = 1.125;
const INT4 = 0.75;
const F32 = 4;

function weightsOf({ matrices, embedding, bits }: About): Weights {
  if (bits === 32)
    return {
      native: F32 * (matrices + embedding),
      webgpu: F32 * (matrices + embedding),
      wasm: F32 * (matrices + embedding),
    };
  const rounded = (bytes: number): number => Math.round(bytes / 1e6) * 1e6;
  // The table is there twice: to look rows up, and as the last matrix.
  return {
    native: rounded((bits === 4 ? INT4 : INT8) * matrices + 2 * INT8 * embedding),
    webgpu: rounded(INT8 * (matrices + embedding) + F32 * embedding),
    // Once, where its rows stay what they are.
    wasm: rounded((bits === 4 ? INT4 : INT8) * matrices + INT8 * embedding),
  };
}

/** Memory for one chat of so many tokens, bytes, where `native` runs it. */
export const memoryNeed = (
  { weights, bytesPerToken }: Pick<KnownModel, "weights" | "bytesPerToken">,
  tokens: number,
): number => weights.native + bytesPerToken * tokens;
