/** The builder: a short-lived child of the command or the coordinator that evaluates user code and writes its artefact. */
import { EXIT, OUTSIDE, SkeinError } from "../../../protocol/errors.ts";
import type { BuildRequest, BuildResult, Failed, Ready } from "../../../protocol/local.ts";
import { startedByParent } from "../../../protocol/node/parent.ts";
import { installRuntime } from "../runtime-modules.ts";
import { buildApplication } from "./build.ts";

const request = await startedByParent<BuildRequest>();
process.setSourceMapsEnabled(true);
installRuntime();
let answer: Ready<BuildResult> | Failed;
try {
  answer = { type: "ready", result: await buildApplication(request) };
} catch (error) {
  const { code, message } = SkeinError.from(error);
  answer = { type: "failed", exit: code === "INVALID_ARGUMENT" ? EXIT.badConfig : OUTSIDE[code].exit, message };
}
// What user code left running must not keep the builder.
process.send?.(answer, undefined, {}, () => process.exit(0));
