/** The worker agent of a tab: a dedicated Web Worker, so that a page in the background doesn't slow it down. Its page starts it and shows what it says. */
import * as z from "zod";
import { EngineClient } from "../../engine/index.ts";
import { webEngineThread } from "../../engine/spawn-web.ts";
import packageJson from "../../package.json" with { type: "json" };
import { Agent } from "../agent/agent.ts";
import { capabilitiesOf, probe } from "./capabilities.ts";
import { tabClock } from "./clock.ts";
import { tabPlatform } from "./platform.ts";
import type { FromAgent, ToAgent } from "./tab.ts";

// Checks made from strings of code are not allowed here (Content-Security-Policy).
z.config({ jitless: true });

/** The part of a worker's global scope that is used: the DOM library's types are for pages. */
const scope = self as unknown as Pick<Worker, "postMessage" | "addEventListener"> & { close(): void };
const tell = (message: FromAgent): void => scope.postMessage(message);
const script = (name: string): string => new URL(name, self.location.href).href;

let agent: Agent | undefined;

async function start({ token, identity, options }: Extract<ToAgent, { type: "start" }>): Promise<void> {
  const { origin } = self.location;
  const engine = (): Promise<EngineClient> =>
    EngineClient.start({
      spawn: () => webEngineThread(new Worker(script("engine.js"), { type: "module" })),
      after: tabClock.after,
    });
  const { hardwareConcurrency, deviceMemory, userAgent } = navigator as Navigator & { deviceMemory?: number };
  const capabilities = capabilitiesOf(
    options,
    { hardwareConcurrency, deviceMemory, platform: userAgent },
    await probe(engine, options.allowSoftwareGpu),
  );
  const platform = tabPlatform({
    origin,
    replicaScript: script("replica.js"),
    keepTicket: (ticket) => tell({ type: "ticket", ticket }),
    onReplicas: (replicas) => tell({ type: "replicas", replicas }),
  });
  const { workerId, hostId, incarnation, ticket } = identity;
  agent = new Agent(
    {
      urls: [`${origin.replace(/^http/, "ws")}/control`],
      identity: { workerId, hostId, incarnation, build: packageJson.version },
      joinToken: token,
      ticket,
      capabilities,
      device: options.device,
      allowSoftwareGpu: options.allowSoftwareGpu,
      logLevel: "info",
    },
    platform,
    {
      onJoined: () => tell({ type: "joined", capabilities }),
      onDown: (reason) => tell({ type: "down", reason }),
      onRefused: ({ code, message }) => {
        tell({ type: "refused", code, message });
        void leave("The mesh has refused this worker.");
      },
    },
  );
  agent.start();
}

async function leave(reason: string): Promise<void> {
  await agent?.leave(reason);
  tell({ type: "left" });
  scope.close();
}

scope.addEventListener(
  "message",
  ({ data: message }: MessageEvent<ToAgent>) =>
    void (message.type === "start" ? start(message) : leave(message.reason)),
);
