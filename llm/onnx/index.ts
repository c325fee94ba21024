/** What user code imports as `skein/onnx`. */
import type { Application } from "../../serve/deployment.ts";
import type { OnnxArgs } from "./application.ts";

export { OnnxModel, type Classified, type OnnxCallOptions, type OnnxOptions } from "./onnx-model.ts";
export { tensor } from "./feeds.ts";
export type {
  EncoderInput,
  TensorData,
  Tensors,
  TensorType,
  TensorValue,
  TextTask,
  ValueFacts,
} from "../../engine/index.ts";
export type { Device } from "../host.ts";
export type { OnnxArgs } from "./application.ts";

/**
 * An ONNX model as an application, for `import_path: skein/onnx:app`. Loaded when it is used: replicas of other applications need none of it.
 * Rejects with `INVALID_ARGUMENT` where the arguments make no sense.
 */
export async function app(args: OnnxArgs): Promise<Application> {
  return (await import("./application.ts")).onnxApplication(args);
}
