/**
 * Safetensors: a length, a JSON object that describes the tensors, their bytes. Checked against the file's size; knows nothing of what
 * they mean to a model.
 */
import { CheckpointError } from "../gguf/error.ts";
import type { ByteSource } from "../gguf/source.ts";
import { isRecord, parseJson } from "./json.ts";
import { REPOSITORY_LIMITS } from "./limits.ts";

export interface SafetensorsTensor {
  /** As the file says it: "F32", "BF16", "F8_E4M3". */
  readonly type: string;
  readonly shape: readonly number[];
  /** Of its first byte in the file. */
  readonly offset: number;
  readonly byteLength: number;
}

const LENGTH_BYTES = 8;

/** Bytes of one element, of the types that are checked. */
const TYPE_BYTES: ReadonlyMap<string, number> = new Map(
  Object.entries({
    F64: 8,
    F32: 4,
    F16: 2,
    BF16: 2,
    I64: 8,
    I32: 4,
    I16: 2,
    I8: 1,
    U64: 8,
    U32: 4,
    U16: 2,
    U8: 1,
    BOOL: 1,
  }),
);

/** Reads the header alone. Throws CheckpointError, naming `file`, for anything that isn't well-formed or reaches beyond the file. */
export async function readSafetensorsHeader(
  source: ByteSource,
  file: string,
): Promise<ReadonlyMap<string, SafetensorsTensor>> {
  const fail = (what: string): never => {
    throw new CheckpointError(`${file}: ${what}`);
  };
  if (source.size < LENGTH_BYTES) fail("this is not a safetensors file: it is shorter than its header");
  const head = await source.read(0, LENGTH_BYTES);
  const length = new DataView(head.buffer, head.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  const most = Math.min(REPOSITORY_LIMITS.headerBytes, source.size - LENGTH_BYTES);
  if (length > BigInt(most))
    fail(
      `the header claims ${length} bytes, more than the ${most} that are there or allowed: this is not a safetensors file, or it is damaged`,
    );
  const dataStart = LENGTH_BYTES + Number(length);
  const described = parseJson(await source.read(LENGTH_BYTES, Number(length)), `the header of ${file}`);
  const entries = Object.entries(described).filter(([name]) => name !== "__metadata__");
  if (entries.length > REPOSITORY_LIMITS.tensors)
    fail(`${entries.length} tensors, more than the ${REPOSITORY_LIMITS.tensors} allowed`);
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, entry] of entries)
    tensors.set(name, tensorOf(name, entry, source.size - dataStart, dataStart, fail));
  assertApart([...tensors.entries()], fail);
  return tensors;
}

function tensorOf(
  name: string,
  entry: unknown,
  dataBytes: number,
  dataStart: number,
  fail: (what: string) => never,
): SafetensorsTensor {
  const quoted = JSON.stringify(name);
  if (!isRecord(entry)) return fail(`tensor ${quoted} has no description`);
  const { dtype, shape, data_offsets: range } = entry;
  if (typeof dtype !== "string") return fail(`tensor ${quoted} has no dtype`);
  if (!isSizes(shape) || shape.length > REPOSITORY_LIMITS.dimensions)
    return fail(
      `tensor ${quoted} has the shape ${JSON.stringify(shape)?.slice(0, 100)}; at most ${REPOSITORY_LIMITS.dimensions} sizes are expected`,
    );
  if (!isSizes(range) || range.length !== 2 || range[0]! > range[1]! || range[1]! > dataBytes)
    return fail(
      `tensor ${quoted} lies at ${JSON.stringify(range)?.slice(0, 100)}, outside the file's ${dataBytes} bytes of data: it is cut off or damaged; fetch it again`,
    );
  const byteLength = range[1]! - range[0]!;
  const elements = shape.reduce((product, size) => product * size, 1);
  const elementBytes = TYPE_BYTES.get(dtype);
  if (elementBytes !== undefined && elements * elementBytes !== byteLength)
    return fail(`tensor ${quoted} of ${elements} ${dtype} has ${byteLength} bytes: the file is damaged`);
  return { type: dtype, shape, offset: dataStart + range[0]!, byteLength };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function assertApart(tensors: readonly (readonly [string, SafetensorsTensor])[], fail: (what: string) => never): void {
  let end = 0;
  for (const [name, tensor] of tensors.toSorted(([, a], [, b]) => a.offset - b.offset)) {
    if (tensor.byteLength > 0 && tensor.offset < end)
      fail(`tensor ${JSON.stringify(name)} lies over another: the file is damaged`);
    end = Math.max(end, tensor.offset + tensor.byteLength);
  }
}
