/** Tensors against what a graph declares: each mistake is named with what is expected. Pure. */
import type { TensorData, Tensors, TensorType, TensorValue, ValueFacts } from "../../engine/index.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { ONNX_FEEDS_MAX } from "../../protocol/limits.ts";

/** What holds a tensor's values. */
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
const arrayOf = (type: Exclude<TensorType, "string">) => (type === "float16" ? Float16Array : ARRAYS[type]);

/**
 * A tensor from its values, row-major: a typed array as it is, or numbers, bigints, booleans and strings that are converted. Without `dims`
 * it has one dimension. Throws `INVALID_ARGUMENT` where values don't fit.
 */
export function tensor(
  type: TensorType,
  values: TensorData | readonly (number | bigint | boolean | string)[],
  dims: readonly number[] = [values.length],
): TensorValue {
  const made = { type, dims, data: dataOf(type, values) };
  checkSize("This tensor", made);
  return made;
}

function dataOf(type: TensorType, values: ArrayLike<unknown>): TensorData {
  if (type === "string") {
    if (!Array.isArray(values) || values.some((value) => typeof value !== "string"))
      throw wrong(`A tensor of strings is made of a list of strings`);
    return values as string[];
  }
  const Type = arrayOf(type);
  if (values instanceof Type) return values;
  if (type === "int64" || type === "uint64") {
    const whole = Array.from(values, (value) => {
      if (typeof value === "bigint" || Number.isSafeInteger(value)) return BigInt(value as number);
      throw wrong(`${String(value).slice(0, 40)} is not a whole number, as ${type} needs`);
    });
    return type === "int64" ? BigInt64Array.from(whole) : BigUint64Array.from(whole);
  }
  const data = new Type(values.length) as Float32Array;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== "number" && typeof value !== "boolean")
      throw wrong(`${String(value).slice(0, 40)} is not a number, as ${type} needs`);
    data[i] = Number(value);
    if (!type.startsWith("float") && data[i] !== Number(value)) throw wrong(`${value} doesn't fit into ${type}`);
  }
  return data;
}

/** Values of a type that are all zero, to warm a graph up with. */
export function zeros(type: TensorType, dims: readonly number[]): TensorValue {
  const size = sizeOf(dims);
  return { type, dims, data: type === "string" ? Array<string>(size).fill("") : new (arrayOf(type))(size) };
}

/** Throws `INVALID_ARGUMENT` with the input and what is expected of it, unless the graph can take these. */
export function checkFeeds(feeds: Tensors, inputs: readonly ValueFacts[]): void {
  const unknown = Object.keys(feeds).find((name) => !inputs.some((input) => input.name === name));
  if (unknown !== undefined)
    throw wrong(`There is no input "${unknown}"; the inputs are ${inputs.map(describe).join(", ")}`);
  /** Sizes by the names that the graph gives them, with who said so first. */
  const sizes = new Map<string, { readonly size: number; readonly input: string }>();
  let bytes = 0;
  for (const input of inputs) {
    const given = feeds[input.name];
    if (given === undefined) throw wrong(`The input ${describe(input)} is missing`);
    const { type, dims } = given;
    if (type !== input.type) throw wrong(`${input.name} is ${type}, expected ${describe(input)}`);
    checkSize(input.name, given);
    bytes += sizeInBytes(given);
    const { shape } = input;
    if (shape === undefined) continue;
    const fits = shape.length === dims.length && shape.every((size, i) => typeof size === "string" || size === dims[i]);
    if (!fits) throw wrong(`${input.name} has the shape [${dims.join(", ")}], expected ${describe(input)}`);
    for (const [i, name] of shape.entries()) {
      if (typeof name !== "string" || name === "?") continue;
      const known = sizes.get(name);
      if (known !== undefined && known.size !== dims[i])
        throw wrong(
          `${input.name} has the shape [${dims.join(", ")}], so "${name}" is ${dims[i]}; in ${known.input} it is ${known.size}`,
        );
      sizes.set(name, known ?? { size: dims[i]!, input: input.name });
    }
  }
  if (bytes > ONNX_FEEDS_MAX) throw wrong(`The inputs have ${bytes} bytes; at most ${ONNX_FEEDS_MAX} are taken`);
}

function checkSize(name: string, { type, dims, data }: TensorValue): void {
  if (dims.some((size) => !Number.isSafeInteger(size) || size < 0))
    throw wrong(`${name} has the shape [${dims.join(", ")}]`);
  const holds = type === "string" ? Array.isArray(data) : data instanceof arrayOf(type);
  if (!holds) throw wrong(`${name} is ${type}, but its values are in a ${data.constructor.name}`);
  if (data.length !== sizeOf(dims))
    throw wrong(`${name} has ${data.length} values; its shape [${dims.join(", ")}] has ${sizeOf(dims)}`);
}

const sizeInBytes = ({ data }: TensorValue): number =>
  "byteLength" in data ? data.byteLength : data.reduce((sum, text) => sum + text.length, 0);

export const sizeOf = (dims: readonly number[]): number => dims.reduce((product, size) => product * size, 1);

/** `x: float32[batch, 3]` */
export const describe = ({ name, type, shape }: ValueFacts): string =>
  `${name}: ${type ?? "no tensor"}${shape === undefined ? "" : `[${shape.join(", ")}]`}`;

const wrong = (why: string): SkeinError => new SkeinError("INVALID_ARGUMENT", `${why}.`);
