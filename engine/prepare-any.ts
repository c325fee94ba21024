/**
 * Any model from its files to what a provider loads, in memory: for tabs. What kind it is, is told by its files' headers, as in Node; a plan
 * is made of them alone, so that what doesn't fit is refused before the weights are fetched.
 */
import { CheckpointError } from "./gguf/error.ts";
import type { ByteSource } from "./gguf/source.ts";
import type { PreparedGraph } from "./graph-model.ts";
import { type EncoderPlan, graphIn, type OnnxPlan, planEncoder, planOnnx } from "./graph-plan.ts";
import type { EmitOptions } from "./onnx/decoder.ts";
import {
  convertInMemory,
  planCheckpoint,
  planPreparation,
  type Preparation,
  type PreparedModel,
  type PrepareProgress,
  weightsInMemory,
} from "./prepare.ts";
import { openRepository } from "./safetensors/checkpoint.ts";
import type { RepositoryFiles } from "./safetensors/files.ts";

/** A plan with the source of its weights; an ONNX file is taken as it is. */
export type ModelPlan =
  | { readonly kind: "decoder"; readonly preparation: Preparation; readonly source: ByteSource }
  | ({ readonly kind: "encoder" } & EncoderPlan)
  | ({ readonly kind: "onnx" } & OnnxPlan);

/** `entry`: the GGUF or ONNX file by which the model is named, null for a repository. Throws CheckpointError for what can't be run. */
export async function planModel(
  files: RepositoryFiles,
  entry: string | null,
  options: EmitOptions,
): Promise<ModelPlan> {
  if (entry?.endsWith(".onnx")) return { kind: "onnx", ...(await planOnnx(files, entry)) };
  if (entry !== null) {
    const source = await files.open(entry);
    if (source === undefined) throw new CheckpointError(`there is no file ${entry}`);
    return { kind: "decoder", preparation: await planPreparation(source, options), source };
  }
  const graph = await graphIn(files);
  if (graph === undefined) {
    const { checkpoint, source } = await openRepository(files);
    return { kind: "decoder", preparation: planCheckpoint(checkpoint, options), source };
  }
  return graph.file === undefined
    ? { kind: "encoder", ...(await planEncoder(files, options.target)) }
    : { kind: "onnx", ...(await planOnnx(files, graph.file)) };
}

/** Bytes of the weights that will be made in one piece; 0 where files are taken as they are. */
export function weightBytesOf(plan: ModelPlan): number {
  if (plan.kind === "onnx") return 0;
  return (plan.kind === "decoder" ? plan.preparation.layout : plan.layout).byteLength;
}

/** Does what was planned. `open`: a file as a whole. */
export async function makeInMemory(
  plan: ModelPlan,
  open: (name: string) => Promise<Uint8Array | Blob>,
  onProgress?: PrepareProgress,
): Promise<PreparedModel | PreparedGraph> {
  if (plan.kind === "decoder") return convertInMemory(plan.preparation, plan.source, onProgress);
  const { description } = plan;
  if (plan.kind === "encoder") {
    const weights = await weightsInMemory(plan.layout, plan.source, onProgress);
    return { ...description, contents: { [description.file]: plan.graph, [description.external[0]!]: weights } };
  }
  const contents = await Promise.all([...plan.places].map(async ([name, place]) => [name, await open(place)] as const));
  return { ...description, contents: Object.fromEntries(contents) };
}
