/** The runtime's registry in a Node process that imports bundles: replicas and the builder. */
import { AsyncLocalStorage } from "node:async_hooks";
import * as llm from "../../llm/index.ts";
import * as onnx from "../../llm/onnx/index.ts";
import type { Context } from "../../serve/context.ts";
import * as skein from "../../serve/index.ts";
import { installWebRequest } from "../../serve/request.ts";
import { installWebResponse } from "../../serve/response.ts";
import { runtime } from "../../serve/runtime.ts";

/** What bundles see instead of packages of their own, by name. */
export const RUNTIME_MODULES: Readonly<Record<string, object>> = { skein, "skein/llm": llm, "skein/onnx": onnx };

/** Call once, before a bundle is imported. */
export function installRuntime(): void {
  Object.assign(runtime().modules, RUNTIME_MODULES);
  const storage = new AsyncLocalStorage<Context>();
  runtime().contexts = { run: (context, body) => storage.run(context, body), current: () => storage.getStore() };
  installWebRequest();
  installWebResponse();
}
