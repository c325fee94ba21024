/**
 * What an ONNX file says of itself: inputs, outputs, and the files that its tensors lie in. Reads the descriptions and skips the
 * tensors' bytes. Every length is checked against what is there. onnx.proto names the fields.
 */
import { CheckpointError } from "../gguf/error.ts";
import type { ByteSource } from "../gguf/source.ts";
import type { GraphFacts } from "../graph-model.ts";
import { ONNX_LIMITS } from "../limits.ts";
import type { TensorType, ValueFacts } from "../tensor.ts";
import { damaged, type Field, ProtoReader } from "./proto-reader.ts";
import { storedTensor } from "./read-graph.ts";

/** TensorProto.DataType */
const TYPES: Readonly<Record<number, TensorType>> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
};

/** External tensors lie beside the graph: no other folder's file is ever opened. */
export const FILE_NAME = /^[\w-][\w.-]*$/;

export interface OnnxFacts extends GraphFacts {
  /** Names of the files that hold tensors. */
  readonly external: readonly string[];
}

/** Throws CheckpointError for what is no ONNX file. */
export async function readOnnxModel(source: ByteSource): Promise<OnnxFacts> {
  const reader = new ProtoReader(source);
  const inputs: ValueFacts[] = [];
  const outputs: ValueFacts[] = [];
  const initialisers = new Set<string>();
  const external = new Set<string>();
  let hasGraph = false;
  for await (const field of reader.fields(0, source.size)) {
    if (field.number !== 7) continue;
    hasGraph = true;
    for await (const part of reader.inside(field)) {
      if (part.number === 5) {
        const { name, location } = await storedTensor(reader, part);
        initialisers.add(name);
        if (location !== undefined) external.add(location);
      } else if (part.number === 1) await placesInNode(reader, part, external, 0);
      else if (part.number === 11) inputs.push(await valueFacts(reader, part));
      else if (part.number === 12) outputs.push(await valueFacts(reader, part));
      if (inputs.length + outputs.length > ONNX_LIMITS.values || external.size > ONNX_LIMITS.externalFiles)
        throw damaged("it has too many inputs, outputs or files");
    }
  }
  if (!hasGraph || outputs.length === 0) throw damaged("it has no graph with outputs");
  const strange = [...external].find((name) => !FILE_NAME.test(name));
  if (strange !== undefined)
    throw new CheckpointError(
      `the ONNX file has tensors in ${JSON.stringify(strange.slice(0, 100))}, which is not the name of a file beside it`,
    );
  // Old exporters list weights among the inputs.
  return { inputs: inputs.filter(({ name }) => !initialisers.has(name)), outputs, external: [...external] };
}

/** Tensors of a node's attributes, and of the graphs in them: the branches of a condition have their own. */
async function placesInNode(reader: ProtoReader, node: Field, external: Set<string>, depth: number): Promise<void> {
  if (depth > ONNX_LIMITS.depth) throw damaged("its graphs lie too deep in each other");
  const addTensor = async (tensor: Field): Promise<void> => {
    const { location } = await storedTensor(reader, tensor);
    if (location !== undefined) external.add(location);
  };
  for await (const attribute of reader.inside(node)) {
    if (attribute.number !== 5) continue;
    for await (const value of reader.inside(attribute)) {
      if (value.number === 5 || value.number === 10) await addTensor(value);
      if (value.number !== 6 && value.number !== 11) continue;
      for await (const part of reader.inside(value)) {
        if (part.number === 5) await addTensor(part);
        else if (part.number === 1) await placesInNode(reader, part, external, depth + 1);
      }
    }
  }
}

async function valueFacts(reader: ProtoReader, value: Field): Promise<ValueFacts> {
  let name = "";
  let type: TensorType | undefined;
  let shape: (number | string)[] | undefined;
  for await (const field of reader.inside(value)) {
    if (field.number === 1) name = await reader.text(field);
    if (field.number !== 2) continue;
    for await (const kind of reader.inside(field)) {
      // Sequences, maps and sparse tensors are no tensors that can be fed.
      if (kind.number !== 1) continue;
      for await (const part of reader.inside(kind)) {
        if (part.number === 1) type = TYPES[part.value];
        else if (part.number === 2) shape = await shapeOf(reader, part);
      }
    }
  }
  return { name, type, shape };
}

async function shapeOf(reader: ProtoReader, field: Field): Promise<(number | string)[]> {
  const shape: (number | string)[] = [];
  for await (const dimension of reader.inside(field)) {
    let size: number | string = "?";
    for await (const part of reader.inside(dimension)) {
      // Some exporters say -1, which is a number near 2^64 here.
      if (part.number === 1) size = part.value < 2 ** 63 ? part.value : "?";
      else if (part.number === 2) size = await reader.text(part);
    }
    shape.push(size);
    if (shape.length > ONNX_LIMITS.dimensions) throw damaged("a tensor has too many dimensions");
  }
  return shape;
}
