/** The compiled kernels over a memory, shared between threads or not. */
import { INT4_KERNELS } from "./int4.ts";
import { INT8_KERNELS } from "./int8.ts";
import { LAYER_KERNELS } from "./layers.ts";

type Product = (
  weights: number,
  factors: number,
  outputs: number,
  blocks: number,
  x: number,
  xFactors: number,
  y: number,
  stride: number,
  rows: number,
) => void;

/** See `int4.wat`, `int8.wat` and `layers.wat`. Addresses and widths are bytes. */
export interface Kernels {
  quantise(x: number, blocks: number, quants: number, factors: number): void;
  readonly int4: Product;
  readonly int8: Product;
  readonly int8x2: Product;
  f32(weights: number, outputs: number, width: number, x: number, y: number, stride: number, rows: number): void;
  add(y: number, x: number, width: number): void;
  norm(x: number, weight: number, width: number, epsilon: number, y: number): void;
  rotate(x: number, half: number, cos: number, sin: number): void;
  silu(gate: number, up: number, width: number): void;
  gelu(gate: number, up: number, width: number): void;
  attend(
    query: number,
    keys: number,
    values: number,
    count: number,
    width: number,
    scale: number,
    scores: number,
    y: number,
  ): void;
}

/** How a module says which memory it imports: the name, "memory", limits with a maximum. */
const IMPORTED_MEMORY = [...new TextEncoder().encode("memory"), 2, 1];
const SHARED = 3;

/** Compiles the kernels for a memory of one kind; what comes out may go to other threads. */
export function compileKernels(isShared: boolean): readonly WebAssembly.Module[] {
  return [INT4_KERNELS, INT8_KERNELS, LAYER_KERNELS].map((text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    if (isShared) {
      // Shared memories are another type, and one bit is all that the two modules would differ by.
      const at = bytes.findIndex((_, i) => IMPORTED_MEMORY.every((byte, j) => bytes[i + j] === byte));
      bytes[at + IMPORTED_MEMORY.length - 1] = SHARED;
    }
    return new WebAssembly.Module(bytes);
  });
}

export function instantiateKernels(modules: readonly WebAssembly.Module[], memory: WebAssembly.Memory): Kernels {
  const exports = modules.map((module) => new WebAssembly.Instance(module, { host: { memory } }).exports);
  return Object.assign({}, ...exports) as Kernels;
}
