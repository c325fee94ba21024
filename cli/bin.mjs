#!/usr/bin/env node
/** The `skein` command on whatever Node the user has: goes on in this process if that is new enough, else in the pinned Node. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { exitCode, oldestMajor, pinnedNode, root, runNode } from "./pinned-node.mjs";

const main = join(root, "cli", "compiled.mjs");

if (!existsSync(join(root, "node_modules"))) {
  console.error(`skein: its packages are not installed. Run \`node ${join(root, "setup.mjs")} install\` once.`);
  process.exitCode = exitCode.failed;
} else if (Number(process.versions.node.split(".")[0]) >= oldestMajor) {
  await import("./compiled.mjs");
} else if (existsSync(pinnedNode())) {
  process.exitCode = await runNode(pinnedNode(), [main, ...process.argv.slice(2)], { stdin: "inherit" });
} else {
  console.error(
    `skein: needs Node ${oldestMajor} or newer, this is ${process.version}, and no Node came with its packages for ` +
      `${process.platform}-${process.arch}. Install a newer Node from https://nodejs.org.`,
  );
  process.exitCode = exitCode.failed;
}
