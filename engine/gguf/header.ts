/**
 * GGUF (versions 2 and 3): the header's metadata and tensor descriptions, checked against the file's size. Knows nothing of what
 * they mean to a model. Specification: ggml's docs/gguf.md.
 */
import type { CheckpointTensor } from "../checkpoint.ts";
import { Cursor, PrefixTooShort } from "./cursor.ts";
import { CheckpointError } from "./error.ts";
import { BLOCK_LAYOUTS, byteLengthOf, formatOfId, nameOfUnreadFormat, GGUF_FORMATS } from "./format.ts";
import { GGUF_LIMITS } from "./limits.ts";
import type { ByteSource } from "./source.ts";

const MAGIC = 0x46554747;
const DEFAULT_ALIGNMENT = 32;

/** 64-bit integers beyond 2^53 stay bigints. */
export type GgufScalar = number | bigint | boolean | string;
export type GgufValue = GgufScalar | readonly GgufScalar[];

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
}

/**
 * Reads the header, and as little else as possible. Throws CheckpointError for anything that isn't a well-formed GGUF file whose
 * tensors lie inside it; allocates only for what it has read, never by a count in the file.
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const most = Math.min(source.size, GGUF_LIMITS.headerBytes);
  let length = Math.min(most, GGUF_LIMITS.firstReadBytes);
  for (;;) {
    try {
      return parseHeader(new Cursor(await source.read(0, length), most), source.size);
    } catch (error) {
      if (!(error instanceof PrefixTooShort)) throw error;
      length = Math.min(most, Math.max(error.needed, 2 * length));
    }
  }
}

function parseHeader(cursor: Cursor, fileSize: number): GgufHeader {
  if (fileSize < 24 || cursor.uint32() !== MAGIC) {
    throw new CheckpointError("this is not a GGUF file: it doesn't begin with the letters GGUF");
  }
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) {
    throw new CheckpointError(
      `GGUF version ${version} can't be read, only 2 and 3: convert the file with a current llama.cpp`,
    );
  }
  const tensorCount = cursor.count("the number of tensors", GGUF_LIMITS.tensors);
  const entryCount = cursor.count("the number of metadata entries", GGUF_LIMITS.metadataEntries);
  const metadata = parseMetadata(cursor, entryCount);
  const tensors = parseTensors(cursor, tensorCount, alignmentOf(metadata), fileSize);
  return { version, metadata, tensors };
}

function parseMetadata(cursor: Cursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  const budget = { elements: GGUF_LIMITS.arrayElements as number };
  for (let i = 0; i < count; i++) {
    const key = cursor.string("a metadata key", GGUF_LIMITS.nameBytes);
    if (metadata.has(key))
      throw new CheckpointError(`the metadata key ${JSON.stringify(key)} occurs twice: the file is damaged`);
    metadata.set(key, parseValue(cursor, key, budget));
  }
  return metadata;
}

type ScalarReader = (cursor: Cursor) => GgufScalar;

/** How to read each kind of scalar. Kind 9, the array, is not one. */
const SCALARS: ReadonlyMap<number, ScalarReader> = new Map<number, ScalarReader>([
  [0, (cursor) => cursor.uint8()],
  [1, (cursor) => cursor.int8()],
  [2, (cursor) => cursor.uint16()],
  [3, (cursor) => cursor.int16()],
  [4, (cursor) => cursor.uint32()],
  [5, (cursor) => cursor.int32()],
  [6, (cursor) => cursor.float32()],
  [7, (cursor) => cursor.uint8() !== 0],
  [8, (cursor) => cursor.string("a string", GGUF_LIMITS.headerBytes)],
  [10, (cursor) => exactNumber(cursor.uint64())],
  [11, (cursor) => exactNumber(cursor.int64())],
  [12, (cursor) => cursor.float64()],
]);
const ARRAY_KIND = 9;

function exactNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function scalarOf(kind: number, key: string): ScalarReader {
  const scalar = SCALARS.get(kind);
  if (scalar === undefined) {
    throw new CheckpointError(
      `the metadata value ${JSON.stringify(key)} has the unknown type ${kind}${kind === ARRAY_KIND ? " (an array of arrays)" : ""}`,
    );
  }
  return scalar;
}

function parseValue(cursor: Cursor, key: string, budget: { elements: number }): GgufValue {
  const kind = cursor.uint32();
  if (kind !== ARRAY_KIND) return scalarOf(kind, key)(cursor);
  const read = scalarOf(cursor.uint32(), key);
  const length = cursor.count(`the length of ${JSON.stringify(key)}`, budget.elements);
  budget.elements -= length;
  const values: GgufScalar[] = [];
  for (let i = 0; i < length; i++) values.push(read(cursor));
  return values;
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>): number {
  const alignment = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  const isPowerOfTwo = typeof alignment === "number" && alignment > 0 && Number.isInteger(Math.log2(alignment));
  if (!isPowerOfTwo || alignment > GGUF_LIMITS.alignment) {
    throw new CheckpointError(
      `general.alignment is ${String(alignment)}, not a power of two up to ${GGUF_LIMITS.alignment}: the file is damaged`,
    );
  }
  return alignment;
}

function parseTensors(
  cursor: Cursor,
  count: number,
  alignment: number,
  fileSize: number,
): Map<string, CheckpointTensor> {
  const described: CheckpointTensor[] = [];
  for (let i = 0; i < count; i++) described.push(parseTensor(cursor, fileSize));
  const base = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map<string, CheckpointTensor>();
  for (const tensor of described) {
    const offset = base + tensor.offset;
    if (offset + tensor.byteLength > fileSize) {
      throw new CheckpointError(
        `tensor ${JSON.stringify(tensor.name)} ends at byte ${offset + tensor.byteLength}, but the file has ${fileSize}: it is cut off; fetch it again`,
      );
    }
    if (tensors.has(tensor.name))
      throw new CheckpointError(`tensor ${JSON.stringify(tensor.name)} occurs twice: the file is damaged`);
    tensors.set(tensor.name, { ...tensor, offset });
  }
  return tensors;
}

/** One description; its offset still counts from the start of the tensors' data. */
function parseTensor(cursor: Cursor, fileSize: number): CheckpointTensor {
  const name = cursor.string("a tensor's name", GGUF_LIMITS.nameBytes);
  const quoted = JSON.stringify(name);
  const dimensions = cursor.uint32();
  if (dimensions > GGUF_LIMITS.dimensions) {
    throw new CheckpointError(
      `tensor ${quoted} has ${dimensions} dimensions, more than ${GGUF_LIMITS.dimensions}: the file is damaged`,
    );
  }
  const shape: number[] = [];
  let elements = 1;
  for (let i = 0; i < dimensions; i++) {
    const size = cursor.count(`a dimension of tensor ${quoted}`, Number.MAX_SAFE_INTEGER);
    elements *= size;
    if (!Number.isSafeInteger(elements))
      throw new CheckpointError(`tensor ${quoted} has too many elements: the file is damaged`);
    shape.unshift(size);
  }
  const id = cursor.uint32();
  const format = formatOfId(id);
  if (format === undefined) {
    throw new CheckpointError(
      `tensor ${quoted} is stored in format ${nameOfUnreadFormat(id)}, which can't be read yet; ` +
        `use a file with ${GGUF_FORMATS.join(", ")} tensors`,
    );
  }
  const perBlock = BLOCK_LAYOUTS[format].elements;
  if ((shape.at(-1) ?? 1) % perBlock !== 0) {
    throw new CheckpointError(
      `tensor ${quoted} has rows of ${shape.at(-1)} elements, not a multiple of ${format}'s block of ${perBlock}: the file is damaged`,
    );
  }
  const offset = cursor.count(`the offset of tensor ${quoted}`, fileSize);
  return { name, format, shape, offset, byteLength: byteLengthOf(format, elements) };
}
