/** How fast the rotary pairs of each layer turn, and how long slots may be: plain, or stretched as the checkpoint says. Knows no graph. */
import type { CheckpointTensor } from "../checkpoint.ts";
import { CheckpointError } from "../gguf/error.ts";
import { dequantise } from "../gguf/dequantise.ts";
import { isGlobalLayer, type ModelConfig } from "../types.ts";
import type { TensorShelf } from "./tensors.ts";

/** Rows of the rotary tables at most: contexts beyond need 2 x 4 x headDim / 2 bytes a position, on every load. */
const MOST_POSITIONS = 32_768;

/** Whether slots of this length have LongRoPE's long factors; those of a length that isn't known are short. */
export const hasLongFactors = ({ longRope }: ModelConfig, slotLength: number | undefined): boolean =>
  longRope !== undefined && slotLength !== undefined && slotLength > longRope.original;

export interface Rotation {
  /** Equal for layers that turn alike. */
  readonly name: "rotary" | "rotary.local";
  /** What cos and sin are multiplied by. */
  readonly scale: number;
  /** Tensors whose bytes `paces` wants. */
  readonly inputs: readonly CheckpointTensor[];
  /** `[ropeDim / 2]`: the angle of pair i is the position divided by the i-th. Pairs beyond don't turn, and are not scaled. */
  readonly paces: (inputs: readonly Uint8Array[]) => Float64Array;
}

/** `wave` (cos or sin) of position / pace, scaled, into a row of `pairs` values for each position; pairs without a pace stay where they are. */
export function fillTable(
  out: Float32Array,
  { paces, scale, pairs }: { readonly paces: Float64Array; readonly scale: number; readonly pairs: number },
  wave: (angle: number) => number,
): void {
  out.fill(wave(0));
  for (let row = 0; row < out.length; row += pairs) {
    const position = row / pairs;
    for (let i = 0; i < paces.length; i++) out[row + i] = scale * wave(position / paces[i]!);
  }
}

export class Rotary {
  /** The longest slot that works. */
  readonly positions: number;
  readonly #config: ModelConfig;
  readonly #tensors: TensorShelf;
  readonly #isLong: boolean;

  constructor(config: ModelConfig, tensors: TensorShelf, slotLength: number | undefined) {
    this.#config = config;
    this.#tensors = tensors;
    this.#isLong = hasLongFactors(config, slotLength);
    // A cache that was begun with the short factors can't go on with the long ones.
    const most = config.longRope === undefined || this.#isLong ? MOST_POSITIONS : config.longRope.original;
    this.positions = Math.min(config.contextLength, MOST_POSITIONS, most);
  }

  /** Throws CheckpointError where the checkpoint lacks the factors. */
  of(layer: number): Rotation {
    const { headDim, ropeDim = headDim, ropeTheta, window } = this.#config;
    const pairs = ropeDim / 2;
    const isLocal = window?.ropeTheta !== undefined && !isGlobalLayer(this.#config, layer);
    const theta = isLocal ? window.ropeTheta : ropeTheta;
    const { tensor, factors: known, scale } = isLocal ? PLAIN : this.#stretching(pairs);
    return {
      name: isLocal ? "rotary.local" : "rotary",
      scale,
      inputs: tensor ? [tensor] : [],
      paces([bytes]) {
        const factors = tensor ? dequantise(tensor.format, bytes!) : known;
        return Float64Array.from({ length: pairs }, (_, i) => Math.pow(theta, (2 * i) / ropeDim) * (factors?.[i] ?? 1));
      },
    };
  }

  /** Where the factors of the angles come from, and what cos and sin are multiplied by. */
  #stretching(pairs: number): Stretching {
    const { ropeFactors, ropeScale: scale = 1, longRope } = this.#config;
    if (longRope === undefined)
      return { tensor: this.#tensors.find("rope_freqs.weight", pairs), factors: ropeFactors, scale };
    // The other one counts as used.
    const [short, long] = ["short", "long"].map((kind) => this.#tensors.find(`rope_factors_${kind}.weight`, pairs));
    const [tensor, factors] = this.#isLong ? [long, longRope.long] : [short, longRope.short];
    if (tensor === undefined && factors === undefined)
      throw new CheckpointError(`the tensor "rope_factors_${this.#isLong ? "long" : "short"}.weight" is missing`);
    return { tensor, factors, scale };
  }
}

interface Stretching {
  readonly tensor: CheckpointTensor | undefined;
  readonly factors: readonly number[] | undefined;
  readonly scale: number;
}
const PLAIN: Stretching = { tensor: undefined, factors: undefined, scale: 1 };
