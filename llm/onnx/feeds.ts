/** Tensors as user code makes and gives them: what is wrong with one is the caller's mistake. Pure. */
import {
  arrayOf,
  checkFeeds as check,
  checkTensor,
  type TensorData,
  type Tensors,
  type TensorType,
  type TensorValue,
  type ValueFacts,
} from "../../engine/index.ts";
import { SkeinError } from "../../protocol/errors.ts";

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
  asMistake(() => checkTensor("This tensor", made));
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

/** Throws `INVALID_ARGUMENT` with the input and what is expected of it, unless the graph can take these. */
export const checkFeeds = (feeds: Tensors, inputs: readonly ValueFacts[]): void =>
  asMistake(() => check(feeds, inputs));

function asMistake(work: () => void): void {
  try {
    work();
  } catch (error) {
    throw error instanceof RangeError ? wrong(error.message) : error;
  }
}

const wrong = (why: string): SkeinError => new SkeinError("INVALID_ARGUMENT", `${why}.`);
