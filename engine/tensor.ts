/** Tensors of any graph as plain values that cross threads, and what a graph says of those it takes and gives. */

/** Element types by the names of ONNX Runtime's JavaScript interface. */
export type TensorType =
  | "float32"
  | "float64"
  | "float16"
  | "int8"
  | "uint8"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "int64"
  | "uint64"
  | "bool"
  | "string";

/** What holds a tensor's values: the array of its type. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Float16Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | readonly string[];

/** A tensor: row-major; `bool` is one byte a value. */
export interface TensorValue {
  readonly type: TensorType;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

/** Tensors by the names of the graph's inputs or outputs. */
export type Tensors = Readonly<Record<string, TensorValue>>;

/** What a graph declares of one input or output. */
export interface ValueFacts {
  readonly name: string;
  /** Undefined for what is no tensor, or one of a type that can't be fed. */
  readonly type: TensorType | undefined;
  /** Sizes, and names of those known at run time only ("?" where it has none); undefined: of any rank. */
  readonly shape: readonly (number | string)[] | undefined;
}

/** What holds the values of each type, but for strings. */
const ARRAYS: Readonly<
  Record<Exclude<TensorType, "string" | "float16">, new (length: number) => Exclude<TensorData, readonly string[]>>
> = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

/** Browsers have had half floats since 2025. */
export const arrayOf = (type: Exclude<TensorType, "string">) => (type === "float16" ? Float16Array : ARRAYS[type]);

/** How many values a shape has. */
export const sizeOf = (dims: readonly number[]): number => dims.reduce((product, size) => product * size, 1);
