/** Tensors as JSON: nested lists, as TensorFlow Serving has them in its column format. Pure. */
import { describeValue, type TensorData, type Tensors, type TensorValue, type ValueFacts } from "../../engine/index.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { tensor } from "./feeds.ts";

/** Dimensions of a tensor: guards the recursion. */
const DEPTH_MAX = 32;

/** Nested lists by the inputs' names. Throws `INVALID_ARGUMENT` for lists that are no tensor. */
export function feedsOf(json: Readonly<Record<string, unknown>>, inputs: readonly ValueFacts[]): Tensors {
  return Object.fromEntries(
    Object.entries(json).map(([name, nested]) => {
      const input = inputs.find((one) => one.name === name);
      if (input?.type === undefined)
        throw wrong(
          `There is no input "${name}" that can be fed; the inputs are ${inputs.map(describeValue).join(", ")}`,
        );
      const dims: number[] = [];
      for (let at = nested; Array.isArray(at); at = at[0]) {
        dims.push(at.length);
        if (dims.length > DEPTH_MAX) throw wrong(`${name} has more than ${DEPTH_MAX} dimensions`);
      }
      const values: (number | boolean | string)[] = [];
      flatten(nested, dims, 0, values, name);
      return [name, tensor(input.type, values, dims)];
    }),
  );
}

function flatten(
  nested: unknown,
  dims: readonly number[],
  depth: number,
  values: (number | boolean | string)[],
  name: string,
): void {
  if (depth === dims.length) {
    if (typeof nested !== "number" && typeof nested !== "boolean" && typeof nested !== "string")
      throw wrong(
        `${name} holds ${nested === null ? "null" : Array.isArray(nested) ? "lists of unequal depth" : typeof nested}`,
      );
    values.push(nested);
    return;
  }
  if (!Array.isArray(nested) || nested.length !== dims[depth])
    throw wrong(`${name} holds lists of unequal length: [${dims.join(", ")}] was expected of the first ones`);
  for (const part of nested) flatten(part, dims, depth + 1, values, name);
}

/** As nested lists. Numbers of 64 bits beyond 2^53, and those that JSON lacks, are texts. */
export const jsonOf = (outputs: Tensors): Record<string, unknown> =>
  Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, nestedOf(value)]));

function nestedOf({ type, dims, data }: TensorValue): unknown {
  const scalar = (value: TensorData[number]): unknown => {
    if (type === "bool") return value !== 0;
    const plain = typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    return typeof plain === "string" || Number.isFinite(plain) ? plain : String(plain);
  };
  let at = 0;
  const part = (depth: number): unknown =>
    depth === dims.length ? scalar(data[at++]!) : Array.from({ length: dims[depth]! }, () => part(depth + 1));
  return part(0);
}

const wrong = (why: string): SkeinError => new SkeinError("INVALID_ARGUMENT", `${why}.`);
