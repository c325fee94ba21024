/** Whether a repository can be run, from its config.json alone: for those who are about to fetch the rest. */
import { readRepositoryConfig } from "./config.ts";
import { isEncoderConfig } from "./encoder.ts";
import { parseJson } from "./json.ts";

/** Throws CheckpointError with the name of what isn't supported. */
export function assertRunnableConfig(bytes: Uint8Array): void {
  const config = parseJson(bytes, "config.json");
  if (!isEncoderConfig(config)) readRepositoryConfig(config);
}
