/** The runtime's registry in a tab: what bundles see instead of packages of their own. */
import * as llm from "../../llm/index.ts";
import * as onnx from "../../llm/onnx/index.ts";
import * as skein from "../../serve/index.ts";
import { installWebRequest } from "../../serve/request.ts";
import { installWebResponse } from "../../serve/response.ts";
import { runtime } from "../../serve/runtime.ts";

/** Call once, before a bundle is imported. There is no ambient context: a tab has no AsyncLocalStorage. */
export function installRuntime(): void {
  Object.assign(runtime().modules, { skein, "skein/llm": llm, "skein/onnx": onnx });
  installWebRequest();
  installWebResponse();
}
