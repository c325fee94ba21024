/** A child for parent.test.ts: ends with code 7 when told, or spins for ever. BUSY=1: its parent is watched on a thread. */
import { startedByParent, tellParent } from "../../protocol/node/parent.ts";

await startedByParent(process.env["BUSY"] === "1");
process.on("message", (message: { type: string }) => {
  if (message.type === "stop") process.exit(7);
  if (message.type === "spin") for (;;);
});
tellParent({ type: "ready", result: {} });
