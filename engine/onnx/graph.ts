/**
 * Builds one ONNX graph with its large tensors in one external file. Knows where each tensor will lie in that file and how to make
 * it from the checkpoint's, but reads and writes nothing itself.
 */
import type { CheckpointTensor } from "../checkpoint.ts";
import {
  type Attributes,
  CONTRIB_DOMAIN,
  DATA_TYPE,
  type DataType,
  type Dimension,
  encodeModel,
  externalTensorField,
  inlineTensorField,
  inputField,
  nodeField,
  outputField,
  sequenceOutputField,
} from "./messages.ts";

/** An output that is always an empty sequence; `copyStop` says why. */
export const COPY_STOP = "copy_stop";

/** The name by which the graph asks for its weights: a file beside it, or a buffer mounted under that name. */
export const WEIGHTS_FILE = "weights.bin";

/** Of each tensor's offset in the weights, in bytes: a cache line. */
const ALIGNMENT = 64;
/** Tensors up to this size stay inside the graph, in bytes. */
const INLINE_BYTES = 1_024;

/** What one tensor of the weights is made from, and how. */
export interface Recipe {
  /** Tensors of the checkpoint whose bytes `make` wants, in this order. */
  readonly inputs: readonly CheckpointTensor[];
  /** Of what `make` returns. */
  readonly byteLength: number;
  readonly make: (inputs: readonly Uint8Array[]) => Uint8Array;
}

/** A recipe and its place in the weights. Parts are in order and don't overlap; the gaps between them are padding. */
export interface WeightPart extends Recipe {
  readonly offset: number;
}

export interface WeightLayout {
  readonly byteLength: number;
  readonly parts: readonly WeightPart[];
}

export class GraphBuilder {
  readonly #fields: Uint8Array[] = [];
  readonly #parts: WeightPart[] = [];
  readonly #shared = new Set<string>();
  #end = 0;

  /** Adds an operator of the ONNX standard. */
  node(operator: string, inputs: readonly string[], outputs: readonly string[], attributes: Attributes = {}): void {
    this.#fields.push(nodeField(operator, inputs, outputs, attributes, ""));
  }

  /** Adds an operator of ONNX Runtime's own. */
  contrib(operator: string, inputs: readonly string[], outputs: readonly string[], attributes: Attributes = {}): void {
    this.#fields.push(nodeField(operator, inputs, outputs, attributes, CONTRIB_DOMAIN));
  }

  input(name: string, type: DataType, shape: readonly Dimension[]): void {
    this.#fields.push(inputField(name, type, shape));
  }

  output(name: string, type: DataType, shape: readonly Dimension[]): void {
    this.#fields.push(outputField(name, type, shape));
  }

  /**
   * Makes the first output one that Node's binding of ONNX Runtime 1.30 can't represent. After a run the binding copies each output into
   * a fresh JavaScript array, even those it was given memory for: for keys and values that costs as much as the model itself. It gives up
   * with an error at the first output that isn't a tensor, when everything has been computed and nothing copied.
   */
  copyStop(): void {
    this.node("SequenceEmpty", [], [COPY_STOP], { dtype: DATA_TYPE.float32 });
    this.#fields.push(sequenceOutputField(COPY_STOP, "float32"));
  }

  /** Emits what makes the value `name`, the first time it is asked for. */
  once(name: string, emit: (name: string) => void): string {
    if (!this.#shared.has(name)) {
      this.#shared.add(name);
      emit(name);
    }
    return name;
  }

  /** A small constant, kept in the graph and shared by name. */
  constant(name: string, type: DataType, shape: readonly number[], data: ArrayBufferView): string {
    return this.once(name, () => {
      this.#fields.push(
        inlineTensorField(name, type, shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
      );
    });
  }

  /** A tensor of the weights. */
  weight(name: string, type: DataType, shape: readonly number[], recipe: Recipe): string {
    if (recipe.inputs.length === 0 && recipe.byteLength <= INLINE_BYTES)
      return this.constant(name, type, shape, recipe.make([]));
    const offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.#end = offset + recipe.byteLength;
    this.#parts.push({ ...recipe, offset });
    this.#fields.push(
      externalTensorField(name, type, shape, { location: WEIGHTS_FILE, offset, length: recipe.byteLength }),
    );
    return name;
  }

  /** The encoded model and the plan of its weights. */
  finish(): { readonly graph: Uint8Array; readonly layout: WeightLayout } {
    return { graph: encodeModel(this.#fields), layout: { byteLength: this.#end, parts: this.#parts } };
  }
}
