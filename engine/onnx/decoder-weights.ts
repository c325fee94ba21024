/**
 * The weights of a language model that was exported to ONNX, under the names of the Transformers library. The exported graph is not run: it
 * has its own ways with the cache of keys and values. Exporters name nodes after the modules that they come from
 * (`/model/layers.0/self_attn/q_proj/MatMul`), so a node says which weights its initialisers are.
 */
import type { CheckpointTensor } from "../checkpoint.ts";
import { CheckpointError } from "../gguf/error.ts";
import { dequantise } from "../gguf/dequantise.ts";
import { byteLengthOf, type TensorFormat } from "../gguf/format.ts";
import { type ByteSource, joinSources } from "../gguf/source.ts";
import { ONNX_LIMITS } from "../limits.ts";
import type { RepositoryFiles } from "../safetensors/files.ts";
import { sizeOf } from "../tensor.ts";
import { byteForm, byteRows, nBitRows, transposed } from "./exported-forms.ts";
import { damaged } from "./proto-reader.ts";
import { type GraphNode, readGraph, type StoredTensor } from "./read-graph.ts";
import { FILE_NAME } from "./read-model.ts";

/** TensorProto.DataType of what weights are stored as. */
const FORMATS: Readonly<Record<number, TensorFormat>> = { 1: "F32", 10: "F16", 16: "BF16" };
const UINT8 = 2;
const INT8 = 3;
/** Initialisers of fewer values may be constants of the graph. */
const CONSTANT_VALUES = 1_024;
/** Tables that the configuration tells as well. */
const COMPUTED = /cos_cache|sin_cache|inv_freq|causal|rotary/i;

/**
 * Reads the graph's descriptions, not the tensors' bytes. Throws CheckpointError where weights are stored in a form that can't be read, or
 * where some would be left out.
 * @param file path of the ONNX file in `files`
 */
export async function readDecoderWeights(
  files: RepositoryFiles,
  file: string,
): Promise<{ readonly source: ByteSource; readonly tensors: ReadonlyMap<string, CheckpointTensor> }> {
  const graph = await files.open(file);
  if (graph === undefined) throw new CheckpointError(`the repository has no ${file}`);
  const { initialisers, nodes } = await readGraph(graph);
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  const locations = [...new Set(initialisers.flatMap(({ location }) => location ?? []))];
  const sources = [graph];
  const bases = new Map<string | undefined, number>([[undefined, 0]]);
  for (const location of locations) {
    const beside = FILE_NAME.test(location) ? await files.open(folder + location) : undefined;
    if (beside === undefined)
      throw new CheckpointError(
        `${file} has tensors in ${JSON.stringify(location.slice(0, 100))}, which isn't beside it`,
      );
    bases.set(
      location,
      sources.reduce((sum, { size }) => sum + size, 0),
    );
    sources.push(beside);
  }
  const placed = initialisers.map((one) => ({ ...one, offset: bases.get(one.location)! + one.offset }));
  const source = joinSources(sources);
  return { source, tensors: new Weights(placed, nodes, await zeroPoints(source, placed, nodes)).found() };
}

/** The zero points of matrices of bytes, by name: what form a matrix has depends on them. */
async function zeroPoints(
  source: ByteSource,
  initialisers: readonly StoredTensor[],
  nodes: readonly GraphNode[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  const names = new Set(nodes.map(({ kind, inputs }) => inputs[{ MatMulInteger: 3, DequantizeLinear: 2 }[kind] ?? -1]));
  const found = new Map<string, Uint8Array>();
  for (const { name, type, shape, offset, byteLength, isVarints } of initialisers) {
    const values = sizeOf(shape);
    if (!names.has(name) || !isByte(type) || values > ONNX_LIMITS.zeroPoints) continue;
    const bytes = await source.read(offset, byteLength);
    // The low eight of each number's bits; the others repeat the sign.
    const isFirst = (i: number): boolean => i === 0 || bytes[i - 1]! < 128;
    const lowest = (i: number): number =>
      bytes[i]! < 128 ? bytes[i]! : (bytes[i]! & 127) | ((bytes[i + 1]! & 1) << 7);
    const zeros = isVarints ? Uint8Array.from([...bytes.keys()].filter(isFirst), lowest) : bytes;
    if (zeros.length !== values)
      throw damaged(`tensor ${JSON.stringify(name.slice(0, 200))} has not all of its values`);
    found.set(name, zeros);
  }
  return found;
}

const isByte = (type: number): boolean => type === UINT8 || type === INT8;

/** Finds what the initialisers of a graph are. */
class Weights {
  readonly #initialisers: ReadonlyMap<string, StoredTensor>;
  readonly #nodes: readonly GraphNode[];
  readonly #makers: ReadonlyMap<string, GraphNode>;
  readonly #zeros: ReadonlyMap<string, Uint8Array>;
  readonly #used = new Set<string>();
  readonly #tensors = new Map<string, CheckpointTensor>();

  constructor(
    initialisers: readonly StoredTensor[],
    nodes: readonly GraphNode[],
    zeros: ReadonlyMap<string, Uint8Array>,
  ) {
    this.#zeros = zeros;
    this.#initialisers = new Map(initialisers.map((one) => [one.name, one]));
    this.#nodes = nodes;
    this.#makers = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node])));
  }

  found(): ReadonlyMap<string, CheckpointTensor> {
    for (const node of this.#nodes) this.#take(node);
    for (const { name, type, shape } of this.#initialisers.values()) {
      const values = shape.reduce((product, size) => product * size, 1);
      if (this.#used.has(name) || values < CONSTANT_VALUES || COMPUTED.test(name)) continue;
      throw new CheckpointError(
        `the ONNX graph has ${values} values ${JSON.stringify(name.slice(0, 200))} (type ${type}) in a way that isn't known: take the model's GGUF file or safetensors repository`,
      );
    }
    return this.#tensors;
  }

  #take(node: GraphNode): void {
    const { kind, inputs } = node;
    const path = modulePath(node.name);
    switch (kind) {
      case "MatMul":
        return this.#matrix(`${path}.weight`, inputs[1]);
      case "MatMulInteger":
        return this.#bytes(`${path}.weight`, inputs[1], this.#scaleBehind(node), inputs[3]);
      case "MatMulNBits":
        return this.#nBits(`${path}.weight`, node, inputs[1], inputs[2], inputs[3]);
      case "Gather":
        return path.endsWith("embed_tokens") ? this.#table(node) : undefined;
      case "GatherBlockQuantized":
        return this.#nBits("model.embed_tokens.weight", node, inputs[0], inputs[2], inputs[3]);
      case "Add":
        if (path.endsWith("_proj")) for (const input of inputs) this.#vector(`${path}.bias`, input);
        return undefined;
      case "SimplifiedLayerNormalization":
        return this.#vector(`${path}.weight`, inputs[1]);
      case "SkipSimplifiedLayerNormalization":
        return this.#vector(`${path}.weight`, inputs[2]);
      case "GroupQueryAttention":
        this.#vector(`${path}.q_norm.weight`, inputs[14]);
        return this.#vector(`${path}.k_norm.weight`, inputs[15]);
      case "Mul":
        // The last part of a norm that was exported in its parts.
        if (path.endsWith("norm"))
          for (const input of inputs) {
            this.#vector(`${path}.weight`, input);
            this.#shifted(`${path}.weight`, this.#makers.get(input));
          }
    }
  }

  /** The initialiser that is meant, through nodes that only pass it on. */
  #initialiser(name: string | undefined): { readonly one: StoredTensor; readonly isTransposed: boolean } | undefined {
    let isTransposed = false;
    for (let at = name, depth = 0; at !== undefined && depth < ONNX_LIMITS.depth; depth++) {
      const one = this.#initialisers.get(at);
      if (one !== undefined) return { one, isTransposed };
      const maker = this.#makers.get(at);
      if (maker === undefined || !["Cast", "Reshape", "Identity", "Transpose"].includes(maker.kind)) return undefined;
      if (maker.kind === "Transpose") isTransposed = !isTransposed;
      at = maker.inputs[0];
    }
    return undefined;
  }

  #put(name: string, tensor: CheckpointTensor, ...used: readonly StoredTensor[]): void {
    for (const one of used) this.#used.add(one.name);
    const [first] = used;
    const elements = first!.shape.reduce((product, size) => product * size, 1);
    const bytes = isByte(first!.type) ? elements : byteLengthOf(this.#formatOf(first!), elements);
    if (first!.byteLength !== bytes)
      throw damaged(
        `tensor ${JSON.stringify(first!.name.slice(0, 200))} has ${first!.byteLength} bytes instead of ${bytes}`,
      );
    // Tied weights are met twice.
    if (!this.#tensors.has(name)) this.#tensors.set(name, tensor);
  }

  #formatOf({ name, type }: StoredTensor): TensorFormat {
    const format = FORMATS[type];
    if (format === undefined)
      throw new CheckpointError(
        `tensor ${JSON.stringify(name.slice(0, 200))} is stored as ONNX's type ${type}, which can't be read: take the variant in f32, f16 or 4 bits (model.onnx, model_fp16.onnx, model_q4.onnx)`,
      );
    return format;
  }

  /** What a multiplication has on its right: columns first, unless it is turned around in the graph. */
  #matrix(name: string, input: string | undefined): void {
    const found = this.#initialiser(input);
    if (found?.one.shape.length !== 2) return;
    const { one, isTransposed } = found;
    const format = this.#formatOf(one);
    const [rows, columns] = isTransposed ? one.shape : one.shape.toReversed();
    const tensor: CheckpointTensor = {
      name: one.name,
      format,
      shape: [rows!, columns!],
      offset: one.offset,
      byteLength: one.byteLength,
      ...(!isTransposed && {
        made: {
          from: [one],
          make: ([bytes]) => transposed(bytes!, columns!, rows!, format === "F32" ? 4 : 2),
        },
      }),
    };
    this.#put(name, tensor, one);
  }

  #table({ inputs, outputs }: GraphNode): void {
    const found = this.#initialiser(inputs[0]);
    if (found?.one.shape.length !== 2 || found.isTransposed) return;
    const { one } = found;
    const weight = "model.embed_tokens.weight";
    if (isByte(one.type)) {
      const [, scale, zero] = this.#user(outputs[0], "DequantizeLinear")?.inputs ?? [];
      return this.#bytes(weight, one.name, scale, zero, true);
    }
    const { name, shape, offset, byteLength } = one;
    this.#put(weight, { name, format: this.#formatOf(one), shape, offset, byteLength }, one);
  }

  #vector(weight: string, input: string | undefined): void {
    const found = this.#initialiser(input);
    if (found?.one.shape.length !== 1 || FORMATS[found.one.type] === undefined) return;
    const { one } = found;
    const { name, shape, offset, byteLength } = one;
    // A scalar of one value is the graph's own.
    if (shape[0]! > 1) this.#put(weight, { name, format: this.#formatOf(one), shape, offset, byteLength }, one);
  }

  /** The node of this kind that takes `output`. */
  #user(output: string | undefined, kind: string): GraphNode | undefined {
    return this.#nodes.find((node) => node.kind === kind && output !== undefined && node.inputs.includes(output));
  }

  /** What the weights of a multiplication of whole numbers are scaled by: the product becomes a float, and is multiplied by both scales' product. */
  #scaleBehind({ outputs }: GraphNode): string | undefined {
    const float = this.#user(outputs[0], "Cast")?.outputs[0];
    const factors = this.#user(float, "Mul")?.inputs.find((input) => input !== float);
    return this.#makers.get(factors ?? "")?.inputs.find((input) => this.#initialisers.has(input));
  }

  /** Bytes with a scale and a zero point for all, or for each row, as ONNX Runtime's dynamic quantisation stores them. */
  #bytes(weight: string, quants?: string, scales?: string, zeros?: string, isTransposed = false): void {
    const data = this.#initialisers.get(quants ?? "");
    if (data?.shape.length !== 2 || !isByte(data.type)) return;
    const [rows = 0, columns = 0] = isTransposed ? data.shape : data.shape.toReversed();
    const scale = this.#initialisers.get(scales ?? "");
    const zero = this.#initialisers.get(zeros ?? "");
    const known = zeros === undefined || zeros === "" ? Uint8Array.of(0) : this.#zeros.get(zeros);
    const isFew = (count: number): boolean => count === 1 || count === rows;
    const format = scale && this.#formatOf(scale);
    const isWhole = scale && format && scale.byteLength === byteLengthOf(format, sizeOf(scale.shape));
    if (!scale || !format || !isWhole || !isFew(sizeOf(scale.shape)) || !known || !isFew(known.length))
      throw new CheckpointError(
        `the ONNX graph stores ${weight} in bytes in a way that isn't known: take the variant in f32 or f16, or the model's GGUF file`,
      );
    const isSigned = data.type === INT8;
    const own = byteForm({ columns, isSigned, zeros: known });
    const tensor: CheckpointTensor = {
      name: data.name,
      format: own,
      shape: [rows, columns],
      offset: 0,
      byteLength: byteLengthOf(own, rows * columns),
      made: {
        from: [data, scale],
        make: ([bytes, scaleBytes]) =>
          byteRows({
            rows,
            columns,
            isSigned,
            quants: isTransposed ? bytes! : transposed(bytes!, columns, rows, 1),
            scales: dequantise(format, scaleBytes!),
            zeros: known,
          }),
      },
    };
    this.#put(weight, tensor, data, scale, ...(zero ? [zero] : []));
  }

  /** Gemma's norms where the graph itself adds one to their weights. */
  #shifted(weight: string, node: GraphNode | undefined): void {
    if (node?.kind !== "Add") return;
    const one = node.inputs.map((input) => this.#initialiser(input)?.one).find((each) => each?.shape.length === 1);
    const shift = node.inputs.map((input) => this.#makers.get(input)?.tensor).find((each) => each !== undefined);
    if (one === undefined || shift === undefined || shift.location !== undefined) return;
    const [format, shiftFormat] = [this.#formatOf(one), this.#formatOf(shift)];
    if (shift.byteLength !== byteLengthOf(shiftFormat, 1)) return;
    const tensor: CheckpointTensor = {
      name: one.name,
      format: "F32",
      shape: one.shape,
      offset: 0,
      byteLength: 4 * one.shape[0]!,
      made: {
        from: [one, shift],
        make([bytes, added]) {
          const [by] = dequantise(shiftFormat, added!);
          return new Uint8Array(dequantise(format, bytes!).map((value) => value + by!).buffer);
        },
      },
    };
    this.#put(weight, tensor, one);
  }

  /** Blocks of n bits along the rows, as f32. */
  #nBits(weight: string, node: GraphNode, quants?: string, scales?: string, zeros?: string): void {
    const [data, scale] = [this.#initialiser(quants)?.one, this.#initialiser(scales)?.one];
    const zero = zeros === undefined || zeros === "" ? undefined : this.#initialiser(zeros)?.one;
    const number = (name: string, otherwise: number): number => node.numbers.get(name) ?? otherwise;
    const [bits, block] = [number("bits", 4), number("block_size", 128)];
    const reordered = node.kind === "MatMulNBits" && node.inputs[4] !== undefined && node.inputs[4] !== "";
    if (
      data?.type !== UINT8 ||
      scale === undefined ||
      (zero !== undefined && zero.type !== UINT8) ||
      reordered ||
      (bits !== 4 && bits !== 8)
    )
      throw new CheckpointError(
        `the ONNX graph stores ${weight} in ${bits} bits in a way that isn't known: take the variant in f32 or f16, or the model's GGUF file`,
      );
    const rows = number("N", data.shape[0]!);
    const columns = number("K", (data.byteLength * 8) / bits / rows);
    const format = this.#formatOf(scale);
    const tensor: CheckpointTensor = {
      name: data.name,
      format: "F32",
      shape: [rows, columns],
      offset: 0,
      byteLength: rows * columns * 4,
      made: {
        from: [data, scale, ...(zero ? [zero] : [])],
        make: ([bytes, scaleBytes, zeroBytes]) =>
          nBitRows({
            rows,
            columns,
            bits,
            block,
            quants: bytes!,
            scales: scaleBytes!,
            scaleFormat: format,
            zeros: zeroBytes,
          }),
      },
    };
    this.#put(weight, tensor, data, scale, ...(zero ? [zero] : []));
  }
}

/** The Transformers library's name of the module that a node comes from; its last part is the operation. */
function modulePath(node: string): string {
  const path = node.replace(/^\//, "").split("/").slice(0, -1).join(".");
  const [, layer, rest] = /(?:^|\.)layers\.(\d+)(?:\.(.+))?$/.exec(path) ?? [];
  if (rest === "final_norm_layernorm") return "model.norm";
  if (layer !== undefined && rest !== undefined) return `model.layers.${layer}.${rest.replace(/^attn\b/, "self_attn")}`;
  if (/(?:^|\.)embed_tokens$/.test(path)) return "model.embed_tokens";
  if (/(?:^|\.)lm_head$/.test(path)) return "lm_head";
  if (/(?:^|\.)(?:model\.norm|norm)$/.test(path)) return "model.norm";
  return path;
}
