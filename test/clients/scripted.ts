/** The same API in front of a model that calls a function when it is told of one: what a small real model doesn't do dependably. */
import { serve } from "@hono/node-server";
import type { AddressInfo } from "node:net";
import { start } from "../llm/openai/bench.ts";

/** Serves it on a free port. Chunks are cut inside of the call's marks. */
export async function startScripted(): Promise<{ readonly baseUrl: string; readonly close: () => void }> {
  const { fetch } = await start(
    (request) => {
      const messages = "messages" in request ? request.messages : [];
      const results = messages.filter(({ role }) => role === "tool").length;
      if (results > 0) return [`It rains: `, messages.at(-1)?.content ?? ""];
      return ["I look.", "\n<tool", '_call>{"name": "weather", "argu', 'ments": {"city": "Paris"}}</tool_call>'];
    },
    { template: "{% if tools %}<tool_call>{% endif %}" },
  );
  const server = serve({ fetch, port: 0, hostname: "127.0.0.1" });
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  return { baseUrl: `http://127.0.0.1:${port}/v1`, close: () => void server.close() };
}
