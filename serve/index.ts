/** The SDK: what user code imports as `skein`. */
export { batch, type Batched, type BatchedStream, type BatchOptions } from "./batch.ts";
export { BATCH_END } from "./batch-stream.ts";
export { DeploymentResponse } from "./call-response.ts";
export { getContext, getMultiplexedModelId, getReplicaContext, type Context, type ReplicaContext } from "./context.ts";
export { Application, Deployment, deployment, type FetchObject, type Servable, type Served } from "./deployment.ts";
export type { GrpcCall, MetadataValue } from "./grpc.ts";
export type { DeploymentHandle, HandleOptions } from "./handle.ts";
export { localTesting } from "./local.ts";
export { multiplexed, type MultiplexedOptions } from "./multiplexed.ts";
export {
  deleteApplication,
  deleteApplication as delete,
  getAppHandle,
  getDeploymentHandle,
  run,
  shutdown,
  status,
  type ApplicationState,
  type DeploymentState,
  type MeshState,
  type RunOptions,
} from "./script.ts";
export type { ActorOptions, AutoscalingOptions, BackpressureOptions, DeploymentOptions } from "./options.ts";
export { upgradeWebSocket, type ClientSocket, type Message, type WebSocketHandlers } from "./websocket.ts";
export { SkeinError } from "../protocol/errors.ts";
