/** ONNX's protobuf messages (onnx.proto, IR version 10). Knows nothing of what a graph computes. */
import { bytesField, concat, floatField, integerField, messageField, stringField } from "./protobuf.ts";

const IR_VERSION = 10;
const OPSET = 21;
const CONTRIB_OPSET = 1;
const PRODUCER = "skein";

/** Operators that ONNX Runtime adds to the standard. */
export const CONTRIB_DOMAIN = "com.microsoft";

/** TensorProto.DataType */
export const DATA_TYPE = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, float16: 10, bfloat16: 16 } as const;
export type DataType = keyof typeof DATA_TYPE;

/** An integer, a list of them, or a float where wrapped: JavaScript's numbers don't say which they are. */
export type Attribute = number | readonly number[] | { readonly float: number };
export type Attributes = Readonly<Record<string, Attribute>>;
/** A size, or the name of one that is known at run time only. */
export type Dimension = number | string;

const ATTRIBUTE_FLOAT = 1;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;

function attribute(name: string, value: Attribute): Uint8Array {
  const field = (type: number, values: readonly Uint8Array[]): Uint8Array =>
    messageField(5, [stringField(1, name), ...values, integerField(20, type)]);
  if (typeof value === "number") return field(ATTRIBUTE_INT, [integerField(3, value)]);
  if ("float" in value) return field(ATTRIBUTE_FLOAT, [floatField(2, value.float)]);
  return field(
    ATTRIBUTE_INTS,
    value.map((item) => integerField(8, item)),
  );
}

/** NodeProto as a field of the graph. Empty names are absent optional inputs and outputs. */
export function nodeField(
  operator: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Attributes,
  domain: string,
): Uint8Array {
  return messageField(1, [
    ...inputs.map((name) => stringField(1, name)),
    ...outputs.map((name) => stringField(2, name)),
    stringField(3, `${operator}:${outputs[0] ?? ""}`),
    stringField(4, operator),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    stringField(7, domain),
  ]);
}

const tensorHead = (name: string, type: DataType, shape: readonly number[]): Uint8Array[] => [
  ...shape.map((size) => integerField(1, size)),
  integerField(2, DATA_TYPE[type]),
  stringField(8, name),
];

/** TensorProto with its data inside, as an initialiser of the graph. */
export function inlineTensorField(
  name: string,
  type: DataType,
  shape: readonly number[],
  data: Uint8Array,
): Uint8Array {
  return messageField(5, [...tensorHead(name, type, shape), bytesField(9, data)]);
}

/** TensorProto whose data lies in another file, as an initialiser of the graph. */
export function externalTensorField(
  name: string,
  type: DataType,
  shape: readonly number[],
  place: { readonly location: string; readonly offset: number; readonly length: number },
): Uint8Array {
  const entries = Object.entries(place).map(([key, value]) =>
    messageField(13, [stringField(1, key), stringField(2, String(value))]),
  );
  return messageField(5, [...tensorHead(name, type, shape), ...entries, integerField(14, 1)]);
}

const GRAPH_INPUT = 11;
const GRAPH_OUTPUT = 12;

function valueInfoField(field: number, name: string, type: DataType, shape: readonly Dimension[]): Uint8Array {
  const dimensions = shape.map((size) =>
    messageField(1, [typeof size === "string" ? stringField(2, size) : integerField(1, size)]),
  );
  const tensorType = messageField(1, [integerField(1, DATA_TYPE[type]), messageField(2, dimensions)]);
  return messageField(field, [stringField(1, name), messageField(2, [tensorType])]);
}

/** ValueInfoProto of an input of the graph. */
export function inputField(name: string, type: DataType, shape: readonly Dimension[]): Uint8Array {
  return valueInfoField(GRAPH_INPUT, name, type, shape);
}

/** ValueInfoProto of an output of the graph. */
export function outputField(name: string, type: DataType, shape: readonly Dimension[]): Uint8Array {
  return valueInfoField(GRAPH_OUTPUT, name, type, shape);
}

/** ValueInfoProto of an output that is a sequence of tensors. */
export function sequenceOutputField(name: string, type: DataType): Uint8Array {
  const element = messageField(1, [messageField(1, [integerField(1, DATA_TYPE[type])])]);
  return messageField(GRAPH_OUTPUT, [stringField(1, name), messageField(2, [messageField(4, [element])])]);
}

/** A whole ModelProto from the graph's fields. */
export function encodeModel(graphFields: readonly Uint8Array[]): Uint8Array {
  const opset = (domain: string, version: number): Uint8Array =>
    messageField(8, [stringField(1, domain), integerField(2, version)]);
  return concat([
    integerField(1, IR_VERSION),
    stringField(2, PRODUCER),
    messageField(7, [...graphFields, stringField(2, "graph")]),
    opset("", OPSET),
    opset(CONTRIB_DOMAIN, CONTRIB_OPSET),
  ]);
}
