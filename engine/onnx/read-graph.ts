/** An ONNX graph's nodes and stored tensors, as far as they say what they are: no tensor's bytes are read. onnx.proto names the fields. */
import type { ByteRange } from "../checkpoint.ts";
import type { ByteSource } from "../gguf/source.ts";
import { ONNX_LIMITS } from "../limits.ts";
import { damaged, type Field, ProtoReader } from "./proto-reader.ts";

const EXTERNAL = 1;

/** Its range lies in the file that `location` names. */
export interface StoredTensor extends ByteRange {
  readonly name: string;
  /** TensorProto.DataType */
  readonly type: number;
  readonly shape: readonly number[];
  /** The file beside the graph that holds it; undefined: the graph's own. */
  readonly location: string | undefined;
  /** Whether its range has a protocol buffer's numbers, one a value, instead of the values' bytes: small whole numbers may be stored so. */
  readonly isVarints: boolean;
}

export interface GraphNode {
  readonly name: string;
  /** The operator. */
  readonly kind: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole-number attributes. */
  readonly numbers: ReadonlyMap<string, number>;
  /** The last attribute that is a tensor: what a constant gives. */
  readonly tensor: StoredTensor | undefined;
}

/** Of the graph itself, not of graphs within its nodes. Throws CheckpointError for what is no ONNX file. */
export async function readGraph(
  source: ByteSource,
): Promise<{ readonly initialisers: readonly StoredTensor[]; readonly nodes: readonly GraphNode[] }> {
  const reader = new ProtoReader(source);
  const initialisers: StoredTensor[] = [];
  const nodes: GraphNode[] = [];
  for await (const field of reader.fields(0, source.size)) {
    if (field.number !== 7) continue;
    for await (const part of reader.inside(field)) {
      if (part.number === 5) initialisers.push(await storedTensor(reader, part));
      else if (part.number === 1) nodes.push(await nodeOf(reader, part));
    }
  }
  return { initialisers, nodes };
}

async function nodeOf(reader: ProtoReader, field: Field): Promise<GraphNode> {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const numbers = new Map<string, number>();
  let name = "";
  let kind = "";
  let tensor: StoredTensor | undefined;
  for await (const part of reader.inside(field)) {
    if (part.number === 1) inputs.push(await reader.text(part));
    else if (part.number === 2) outputs.push(await reader.text(part));
    else if (part.number === 3) name = await reader.text(part);
    else if (part.number === 4) kind = await reader.text(part);
    else if (part.number === 5) {
      let attribute = "";
      let value: number | undefined;
      for await (const entry of reader.inside(part)) {
        if (entry.number === 1) attribute = await reader.text(entry);
        else if (entry.number === 3) value = entry.value;
        else if (entry.number === 5) tensor = await storedTensor(reader, entry);
      }
      if (value !== undefined) numbers.set(attribute, value);
    }
  }
  return { name, kind, inputs, outputs, numbers, tensor };
}

export async function storedTensor(reader: ProtoReader, field: Field): Promise<StoredTensor> {
  const shape: number[] = [];
  let [name, type] = ["", 0];
  let inside: ByteRange = { offset: field.start, byteLength: 0 };
  let isVarints = false;
  const external = new Map<string, string>();
  let isExternal = false;
  for await (const part of reader.inside(field)) {
    if (part.number === 1) shape.push(...(await reader.numbers(part)));
    else if (part.number === 2) type = part.value;
    else if (part.number === 8) name = await reader.text(part);
    else if ([4, 5, 9].includes(part.number)) {
      // Floats one after the other are their bytes.
      inside = { offset: part.start, byteLength: part.end - part.start };
      isVarints = part.number === 5;
    } else if (part.number === 14) isExternal = part.value === EXTERNAL;
    else if (part.number === 13) {
      let [key, value] = ["", ""];
      for await (const entry of reader.inside(part)) {
        if (entry.number === 1) key = await reader.text(entry);
        else if (entry.number === 2) value = await reader.text(entry);
      }
      external.set(key, value);
    }
    if (shape.length > ONNX_LIMITS.dimensions) throw damaged("a tensor has too many dimensions");
  }
  const location = external.get("location");
  if (!isExternal || location === undefined) return { name, type, shape, location: undefined, isVarints, ...inside };
  const number = (key: string): number => Number(external.get(key) ?? 0);
  const range = { offset: number("offset"), byteLength: number("length") };
  return { name, type, shape, location, isVarints: false, ...range };
}
