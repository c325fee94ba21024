/** Hands out a checkpoint's tensors by name, checks their shapes, and knows which were asked for. */
import type { CheckpointTensor } from "../checkpoint.ts";
import { dequantise } from "../gguf/dequantise.ts";
import { CheckpointError } from "../gguf/error.ts";
import type { Recipe } from "./graph.ts";
import { type Matrix, matrixOf } from "./matrix.ts";
import { bytesOf } from "./pack.ts";

/** What takes vectors: a graph, which calls them by name, or whoever keeps their places. */
export interface VectorSink<T> {
  weight(name: string, type: "float32", shape: readonly number[], recipe: Recipe): T;
}

export class TensorShelf {
  /** Values in all tensors together. */
  readonly elements: number;
  readonly #tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly #kind: string;
  readonly #normOffset: number;
  readonly #used = new Set<string>();

  /** `kind` of model, for messages; `normOffset` is added to each norm's weights. */
  constructor(tensors: ReadonlyMap<string, CheckpointTensor>, kind: string, normOffset = 0) {
    this.#tensors = tensors;
    this.#kind = kind;
    this.#normOffset = normOffset;
    this.elements = [...tensors.values()].reduce(
      (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
      0,
    );
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  matrix(name: string, rows: number, columns: number): Matrix {
    return matrixOf(this.#take(name), rows, columns);
  }

  /** A vector of `size` values that may be missing. */
  find(name: string, size: number): CheckpointTensor | undefined {
    return this.#tensors.has(name) ? this.#sized(name, size) : undefined;
  }

  /** A norm's weights as a tensor of the graph. */
  normWeight<T>(graph: VectorSink<T>, weight: string, name: string, size: number): T {
    return this.vector(graph, weight, [name], size, this.#normOffset);
  }

  /** Vectors of `size` values altogether, one after the other, as a tensor of the graph; `offset` is added to each value. */
  vector<T>(graph: VectorSink<T>, weight: string, names: readonly string[], size: number, offset = 0): T {
    const tensors = names.map((name) => this.#take(name));
    if (
      tensors.some(({ shape }) => shape.length !== 1) ||
      tensors.reduce((sum, { shape }) => sum + shape[0]!, 0) !== size
    ) {
      const shapes = tensors.map(({ shape }) => `[${shape.join(", ")}]`).join(" and ");
      throw new CheckpointError(
        `tensor ${JSON.stringify(tensors[0]!.name)} has the shape ${shapes}, but the metadata asks for [${size}]`,
      );
    }
    return graph.weight(weight, "float32", [size], {
      inputs: tensors,
      byteLength: size * 4,
      make(inputs) {
        const values = new Float32Array(size);
        let at = 0;
        inputs.forEach((bytes, i) => {
          const part = dequantise(tensors[i]!.format, bytes);
          values.set(part, at);
          at += part.length;
        });
        return bytesOf(offset === 0 ? values : values.map((value) => value + offset));
      },
    });
  }

  /** A tensor that nobody asked for is a part of the model that would be left out. */
  assertAllUsed(): void {
    for (const [name, tensor] of this.#tensors) {
      if (!this.#used.has(name)) {
        throw new CheckpointError(
          `the checkpoint has a tensor ${JSON.stringify(tensor.name)}, which a ${this.#kind} model is not known to have: this kind is not supported`,
        );
      }
    }
  }

  #sized(name: string, size: number): CheckpointTensor {
    const tensor = this.#take(name);
    if (tensor.shape.length !== 1 || tensor.shape[0] !== size) {
      throw new CheckpointError(
        `tensor ${JSON.stringify(tensor.name)} has the shape [${tensor.shape.join(", ")}], but the metadata asks for [${size}]`,
      );
    }
    return tensor;
  }

  #take(name: string): CheckpointTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      throw new CheckpointError(
        `the checkpoint has no tensor ${JSON.stringify(name)}: it is incomplete, or not a ${this.#kind} model`,
      );
    }
    this.#used.add(name);
    return tensor;
  }
}
