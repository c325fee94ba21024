/** A parent for parent.test.ts that can be killed: starts parent-child-main.ts, prints its pid and stays. CHILD=computes or is stopped. */
import { fileURLToPath } from "node:url";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";

const child = spawnChild(fileURLToPath(new URL("parent-child-main.ts", import.meta.url)), {
  output: "ignore",
  userCode: process.env["CHILD"] !== "waits",
});
await childReady(child, {});
if (process.env["CHILD"] === "computes") child.send({ type: "spin" });
if (process.env["CHILD"] === "is stopped") child.kill("SIGSTOP");
console.log(child.pid);
setInterval(() => {}, 1_000);
