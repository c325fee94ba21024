/** What `npm start` does: serves the textbook's program with the default model, and shows how to talk to it. */
import { fileURLToPath } from "node:url";
import type { Shell } from "../shell.ts";
import { run, type RunFlags } from "./run.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples", import.meta.url));
const QUESTION = '"Could you explain what is dask?"';

export const quickstart = (flags: RunFlags, shell: Shell): Promise<number> =>
  run("llm:chat", [], { ...flags, appDir: EXAMPLES, name: "default", tryBody: QUESTION }, shell);
