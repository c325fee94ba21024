/** Tensors against what a graph declares: each mistake is named with what is expected. Pure. */
import { ONNX_LIMITS } from "./limits.ts";
import { arrayOf, sizeOf, type Tensors, type TensorValue, type ValueFacts } from "./tensor.ts";

/** Throws RangeError with the input and what is expected of it, unless the graph can take these. */
export function checkFeeds(feeds: Tensors, inputs: readonly ValueFacts[]): void {
  const unknown = Object.keys(feeds).find((name) => !inputs.some((input) => input.name === name));
  if (unknown !== undefined)
    throw wrong(`There is no input "${unknown}"; the inputs are ${inputs.map(describeValue).join(", ")}`);
  /** Sizes by the names that the graph gives them, with who said so first. */
  const sizes = new Map<string, { readonly size: number; readonly input: string }>();
  let bytes = 0;
  for (const input of inputs) {
    const given = feeds[input.name];
    if (given === undefined) throw wrong(`The input ${describeValue(input)} is missing`);
    const { type, dims } = given;
    if (type !== input.type) throw wrong(`${input.name} is ${type}, expected ${describeValue(input)}`);
    checkTensor(input.name, given);
    bytes += sizeInBytes(given);
    const { shape } = input;
    if (shape === undefined) continue;
    const fits = shape.length === dims.length && shape.every((size, i) => typeof size === "string" || size === dims[i]);
    if (!fits) throw wrong(`${input.name} has the shape [${dims.join(", ")}], expected ${describeValue(input)}`);
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
  if (bytes > ONNX_LIMITS.feedBytes)
    throw wrong(`The inputs have ${bytes} bytes; at most ${ONNX_LIMITS.feedBytes} are taken`);
}

/** Throws RangeError unless shape, type and values belong together. */
export function checkTensor(name: string, { type, dims, data }: TensorValue): void {
  if (dims.some((size) => !Number.isSafeInteger(size) || size < 0))
    throw wrong(`${name} has the shape [${dims.join(", ")}]`);
  const holds = type === "string" ? Array.isArray(data) : data instanceof arrayOf(type);
  if (!holds) throw wrong(`${name} is ${type}, but its values are in a ${data.constructor.name}`);
  if (data.length !== sizeOf(dims))
    throw wrong(`${name} has ${data.length} values; its shape [${dims.join(", ")}] has ${sizeOf(dims)}`);
}

const sizeInBytes = ({ data }: TensorValue): number =>
  "byteLength" in data ? data.byteLength : data.reduce((sum, text) => sum + text.length, 0);

/** `x: float32[batch, 3]` */
export const describeValue = ({ name, type, shape }: ValueFacts): string =>
  `${name}: ${type ?? "no tensor"}${shape === undefined ? "" : `[${shape.join(", ")}]`}`;

const wrong = (why: string): RangeError => new RangeError(why);
