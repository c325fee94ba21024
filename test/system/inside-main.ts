/** A client in a network namespace: its parent asks by IPC, it sends the request and answers with what came. Ends with its parent. */
import { Agent, request } from "node:http";
import type { Answered, Asked } from "./namespaces.ts";

const agent = new Agent({ keepAlive: true });

process.on("message", ({ id, url, method, headers, body, withinMs }: Asked) => {
  const answer = (answered: Omit<Answered, "id">): void => void process.send?.({ id, ...answered });
  const outgoing = request(url, { method, headers, agent, signal: AbortSignal.timeout(withinMs) }, (incoming) => {
    const parts: Buffer[] = [];
    incoming.on("data", (part: Buffer) => parts.push(part));
    incoming.on("end", () => answer({ status: incoming.statusCode ?? 0, text: Buffer.concat(parts).toString() }));
    incoming.on("error", (error) => answer({ status: 0, text: error.message }));
  });
  outgoing.on("error", (error) => answer({ status: 0, text: error.message }));
  outgoing.end(body);
});
process.on("disconnect", () => process.exit());
process.send?.("here");
