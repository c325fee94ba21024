/** A child for parent.test.ts: ends with code 7 when told, or spins for ever. */
import { startedByParent, tellParent } from "../../protocol/node/parent.ts";

await startedByParent();
process.on("message", (message: { type: string }) => {
  if (message.type === "stop") process.exit(7);
  if (message.type === "spin") for (;;);
});
tellParent({ type: "ready", result: {} });
