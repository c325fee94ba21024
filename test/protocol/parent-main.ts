/** A parent for parent.test.ts that can be killed: starts parent-child-main.ts, prints its pid and stays. SPIN=1: the child computes. */
import { fileURLToPath } from "node:url";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";

const spin = process.env["SPIN"] === "1";
const child = spawnChild(fileURLToPath(new URL("parent-child-main.ts", import.meta.url)), {
  output: "ignore",
  env: { ...process.env, BUSY: spin ? "1" : "0" },
});
await childReady(child, {});
if (spin) child.send({ type: "spin" });
console.log(child.pid);
setInterval(() => {}, 1_000);
