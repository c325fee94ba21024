/** Stands in for a replica's process: does what its user config says, and tells what it could see. */
import { readFileSync, writeFileSync } from "node:fs";
import { execSync } from "node:child_process";
import { flushCompileCache } from "node:module";
import type { FromReplica, ReplicaOptions } from "../../../protocol/local.ts";
import { startedByParent, tellParent } from "../../../protocol/node/parent.ts";
import { seal } from "../../../worker/node/replica-environment.ts";

seal(process.env["NODE_COMPILE_CACHE"], flushCompileCache, process.permission);
const options = await startedByParent<ReplicaOptions>();
const tell = (message: FromReplica): void => tellParent(message);
const plan = options.spec.userConfig as {
  print?: string;
  complain?: string;
  exit?: number;
  spin?: boolean;
  read?: string;
};

function outcome(attempt: () => unknown): string {
  try {
    attempt();
    return "done";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

console.log(plan.print ?? "");
if (plan.complain !== undefined) console.error(plan.complain);
tell({ type: "log", level: "info", text: "by message" });
tell({
  type: "status",
  state: "ready",
  userConfigVersion: 1,
  ongoing: 0,
  progress: JSON.stringify({
    environment: Object.keys(process.env).sort(),
    cwd: process.cwd(),
    writeHere: outcome(() => writeFileSync("mine.txt", "x")),
    writeElsewhere: outcome(() => writeFileSync(`${options.bundle}.stolen`, "x")),
    writeCache: outcome(() => writeFileSync(`${process.env["NODE_COMPILE_CACHE"]}/stolen`, "x")),
    readBundle: outcome(() => readFileSync(options.bundle)),
    readSecret: outcome(() => readFileSync(plan.read ?? "/nowhere")),
    startProgram: outcome(() => execSync("true")),
  }),
});
if (plan.exit !== undefined) setTimeout(() => process.exit(plan.exit), 50);
if (plan.spin === true) for (;;);
setInterval(() => tell({ type: "alive", ongoing: 0 }), 200);
process.on("message", (message: { type: string }) => {
  if (message.type === "stop") process.exit(0);
});
