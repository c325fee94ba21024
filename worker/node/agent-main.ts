/**
 * The worker agent's program, started by the command (AgentOptions -> AgentReady or failed). SIGTERM or `stop` drains and leaves;
 * the second one kills every child by its id. When its parent dies it dies, and its children with it.
 */
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import type { AgentOptions, AgentReady, Failed, Ready } from "../../protocol/local.ts";
import { startedByParent, tellAlive, tellParent } from "../../protocol/node/parent.ts";
import { Agent } from "../agent/agent.ts";
import { capabilitiesOf, likely, probe, remembered } from "./capabilities.ts";
import { meshOrigin, socketUrl } from "./control-socket.ts";
import { hostIdOf, takeHome } from "./identity.ts";
import { FIRST_JOIN_TIMEOUT_MS } from "./limits.ts";
import { nodePlatform } from "./platform.ts";

const BUILD = "0.1.0";

/** Says why and ends; the message is written before the process goes. */
function fail(thrown: unknown): void {
  const error = SkeinError.from(thrown);
  const message: Failed = { type: "failed", exit: OUTSIDE[error.code].exit, message: error.message };
  if (process.connected) process.send?.(message, undefined, {}, () => process.exit(message.exit));
  else process.exit(message.exit);
}

function run(options: AgentOptions): void {
  const origins = options.meshUrls.map(meshOrigin);
  const home = takeHome(options.dataDir, origins.join(" "), Date.now());
  const hostId = options.hostId ?? hostIdOf(options.dataDir);
  const known = remembered(options.dataDir, process.env, Date.now());
  let capabilities = capabilitiesOf(options, known ?? likely());

  let joined = false;
  let down = "";
  let stopping = false;
  const platform = nodePlatform({
    options,
    hostId,
    home,
    origins,
    environment: process.env,
    // Later it is a connection like any other that doesn't come about: replicas must not die of it.
    onWrongKey: (error) => {
      if (!joined && !stopping) fail(error);
    },
  });
  const agent = new Agent(
    {
      urls: origins.map((origin) => socketUrl(origin, "/control")),
      identity: { workerId: home.workerId, hostId, incarnation: home.incarnation, build: BUILD },
      joinToken: options.joinToken,
      ticket: home.ticket,
      capabilities,
      device: options.device,
      allowSoftwareGpu: options.allowSoftwareGpu,
      logLevel: options.logLevel,
    },
    platform,
    {
      onJoined: () => {
        if (!joined)
          tellParent({ type: "ready", result: { workerId: home.workerId, capabilities } } satisfies Ready<AgentReady>);
        else if (down !== "") console.error("worker: the coordinator is back.");
        joined = true;
        down = "";
      },
      onDown: (reason) => {
        if (joined && down === "" && !stopping)
          console.error(`worker: the coordinator can't be reached (${reason}); replicas go on, trying again.`);
        down = reason;
      },
      onRefused: (error) => void agent.leave("The mesh has refused this worker.").then(() => fail(error)),
    },
  );

  const stop = (): void => {
    if (stopping) {
      agent.kill();
      process.exit(1);
    }
    stopping = true;
    void agent.leave("The worker was stopped.").then(() => process.exit(0));
  };
  process.on("SIGTERM", stop);
  process.on("message", (message: { readonly type?: string }) => {
    if (message.type === "stop") stop();
  });
  setTimeout(() => {
    if (!joined && !stopping)
      fail(
        new SkeinError(
          "UNAVAILABLE",
          `No coordinator answers at ${origins.join(" or ")} (${down || "no answer"}). Is the mesh running, and is this its mesh port?`,
        ),
      );
  }, FIRST_JOIN_TIMEOUT_MS);

  agent.start();

  const worthProbing =
    known === null && (options.device === "auto" || options.device === "webgpu" || options.device === "native");
  if (worthProbing) {
    void probe(options.dataDir, process.env, Date.now()).then((probed) => {
      const found = capabilitiesOf(options, probed);
      if (JSON.stringify(found) === JSON.stringify(capabilities)) return;
      capabilities = found;
      agent.announce(found);
    });
  }
}

try {
  const options = await startedByParent<AgentOptions>();
  tellAlive();
  run(options);
} catch (thrown) {
  fail(thrown);
}
