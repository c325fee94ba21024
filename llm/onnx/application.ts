/** The ready-made application: one ONNX model that is its own ingress, from what `args` in YAML or on the command line say. */
import * as z from "zod";
import { SkeinError } from "../../protocol/errors.ts";
import { ONNX_REQUESTS_MAX } from "../../protocol/limits.ts";
import { deployment, type Application } from "../../serve/deployment.ts";
import { OnnxServer, type OnnxSettings } from "./server.ts";

const whole = z.coerce.number().int().min(1);
const argsSchema = z.strictObject({
  model: z.string().min(1),
  task: z.enum(["raw", "embedding", "classification"]).optional(),
  device: z.enum(["auto", "webgpu", "native", "wasm"]).optional(),
  max_batch: whole.optional(),
  batch_wait_ms: z.coerce.number().min(0).optional(),
  warm_up: z.array(z.record(z.string(), z.array(z.number().int().min(0)))).optional(),
  num_replicas: whole.optional(),
  num_cpus: z.coerce.number().min(0).optional(),
  num_gpus: z.union([z.literal("auto"), z.coerce.number().min(0)]).optional(),
});

/** What the builder `skein/onnx:app` takes: `args` of a configuration, or `model=…` and others on the command line. */
export type OnnxArgs = z.input<typeof argsSchema>;

/** Throws `INVALID_ARGUMENT` that says what the arguments should be. */
export function onnxApplication(args: OnnxArgs): Application {
  const read = argsSchema.safeParse(args);
  if (!read.success) {
    const issue = read.error.issues[0]!;
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `${["args", ...issue.path].join(".")}: ${issue.message}. Expected model=<path, hf: name or URL> and perhaps task=raw|embedding|classification, device, max_batch, batch_wait_ms, num_replicas, num_cpus, num_gpus; in YAML also warm_up.`,
    );
  }
  const { model, task, device, max_batch, batch_wait_ms, warm_up, num_replicas, num_cpus, num_gpus } = read.data;
  const settings: OnnxSettings = {
    model,
    task: task ?? null,
    ...(device === undefined ? {} : { device }),
    ...(max_batch === undefined ? {} : { maxBatch: max_batch }),
    ...(batch_wait_ms === undefined ? {} : { batchWaitMs: batch_wait_ms }),
    ...(warm_up === undefined ? {} : { warmUp: warm_up }),
  };
  return deployment(OnnxServer, {
    name: "OnnxModel",
    maxOngoingRequests: ONNX_REQUESTS_MAX,
    retry: "no-output",
    rayActorOptions: { numCpus: num_cpus ?? 1, numGpus: num_gpus ?? "auto" },
    ...(num_replicas === undefined ? {} : { numReplicas: num_replicas }),
  }).bind(settings);
}
