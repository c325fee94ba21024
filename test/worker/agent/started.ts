/** Agents for tests: started, or joined and serving. */
import type { SkeinError } from "../../../protocol/errors.ts";
import { Agent, type AgentSettings } from "../../../worker/agent/agent.ts";
import { FakePlatform } from "./fake-platform.ts";
import { assignment, replicaSpec } from "./specs.ts";

export const capabilities = {
  cpus: 4,
  gpus: 0,
  memory: 8e9,
  resources: {},
  kind: "node" as const,
  providers: ["wasm"],
  adapter: null,
  platform: "test",
  name: "w",
};

/** An agent that has just been started on a platform of virtual time. */
export function start(change: Partial<AgentSettings> = {}) {
  const platform = new FakePlatform();
  const refused: SkeinError[] = [];
  const agent = new Agent(
    {
      urls: ["ws://one/control", "ws://two/control"],
      identity: { workerId: "w", hostId: "h", incarnation: 7, build: "test" },
      joinToken: "token",
      ticket: null,
      capabilities,
      device: "auto",
      allowSoftwareGpu: false,
      logLevel: "info",
      ...change,
    },
    platform,
    { onJoined: () => {}, onDown: () => {}, onRefused: (error) => void refused.push(error) },
  );
  agent.start();
  return { agent, platform, refused };
}

/** Joined, with one replica that is ready. */
export async function serving() {
  const started = start();
  const { platform } = started;
  platform.connection.welcome();
  platform.connection.say(assignment(1, [replicaSpec("r")]));
  await platform.pass(20);
  platform.replica().says("ready");
  await platform.pass(20);
  return started;
}
