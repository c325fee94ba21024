/** Stands for the coordinator and the agent in tests of their parent: starts, stops when told. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { startedByParent, tellAlive, tellParent } from "../../protocol/node/parent.ts";

interface Options {
  readonly operators?: { readonly port: number };
  readonly again?: boolean;
  readonly meshUrls?: readonly string[];
  readonly joinToken?: string;
  readonly dataDir: string;
}

const options = await startedByParent<Options>();
tellAlive();
const server = createServer((_, response) => response.end("ok"));
server.listen(options.operators?.port ?? 0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  console.log(`started again=${options.again} join=${options.meshUrls?.[0]} ${options.joinToken}`);
  const coordinator = {
    operatorsUrl: url,
    meshUrl: url,
    adminTokenFile: `${options.dataDir}/admin-token`,
    localJoinToken: "join",
    hostId: "h",
  };
  tellParent({
    type: "ready",
    result: options.meshUrls === undefined ? coordinator : { workerId: "w", capabilities: {} },
  });
});
server.on("error", (error: NodeJS.ErrnoException) =>
  tellParent({ type: "failed", exit: 1, message: `Port in use (${error.code}).` }),
);
process.on("message", (message: { type: string }) => {
  if (message.type !== "stop") return;
  console.log("stopped in order");
  process.exit(0);
});
