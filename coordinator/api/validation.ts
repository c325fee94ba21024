/** Bodies that are refused, in Ray's form: count, schema, then each path with its message. Pure. */
import type { ConfigIssue, DeployConfig } from "../../protocol/config.ts";
import { REPLICAS_MAX } from "../../protocol/limits.ts";

/** `1 validation error for ServeDeploySchema`, then `applications.0.name` and the message, indented. */
export function validationText(schema: string, issues: readonly ConfigIssue[]): string {
  const lines = issues.flatMap((issue) => [issue.path.join(".") || "(root)", `  ${issue.message}`]);
  return [`${issues.length} validation error${issues.length === 1 ? "" : "s"} for ${schema}`, ...lines].join("\n");
}

/** Files of this machine are not on the workers: Ray refuses such a working_dir, and so do we. */
export function workingDirIssue(config: DeployConfig): ConfigIssue | null {
  for (const [i, app] of config.applications.entries()) {
    const folder = app.runtime_env["working_dir"];
    if (typeof folder === "string" && !/^[a-z][a-z0-9+.-]*:\/\//i.test(folder))
      return {
        path: ["applications", i, "runtime_env"],
        message: `runtime_envs in the Serve config support only remote URIs in working_dir and py_modules. Got error when parsing URI: Expected URI but received path ${folder}`,
      };
  }
  return null;
}

export function scaleRequest(text: string): { replicas: number; error?: undefined } | { error: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { error: "Invalid request body: Expecting value: line 1 column 1 (char 0)" };
  }
  const wish =
    typeof value === "object" && value !== null
      ? (value as { target_num_replicas?: unknown }).target_num_replicas
      : undefined;
  const problem = (message: string): { error: string } => ({
    error: `Invalid request body: 1 validation error for ScaleDeploymentRequest\ntarget_num_replicas\n  ${message}`,
  });
  if (wish === undefined) return problem("Field required");
  if (typeof wish !== "number") return problem("Input should be a valid integer");
  if (!Number.isInteger(wish)) return problem("Input should be a valid integer, got a number with a fractional part");
  if (wish < 0) return problem("Input should be greater than or equal to 0");
  if (wish > REPLICAS_MAX) return problem(`Input should be less than or equal to ${REPLICAS_MAX}`);
  return { replicas: wish };
}
