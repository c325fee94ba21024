/** The ingress process: started by the agent, ends with it. The only file of the ingress that makes clocks, chance and outgoing sockets. */
import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";
import packageJson from "../package.json" with { type: "json" };
import { endpoint } from "../protocol/address.ts";
import { SkeinError, OUTSIDE } from "../protocol/errors.ts";
import { CONTROL_MESSAGE_MAX } from "../protocol/limits.ts";
import type { FromIngress, IngressOptions, ToIngress } from "../protocol/local.ts";
import { dial } from "../protocol/node/dial.ts";
import { ownAddresses } from "../protocol/node/own-addresses.ts";
import { startedByParent, tellAlive, tellParent } from "../protocol/node/parent.ts";
import type { ControlConnection, ControlEvents } from "./control.ts";
import { Ingress } from "./ingress.ts";

const TICK_MS = 250;

/** A control link's socket. `address`: of the coordinator's mesh port. */
function connect(address: string, events: ControlEvents): ControlConnection {
  const { url, options } = dial(endpoint(address, "ws", "/control"));
  const socket = new WebSocket(url, {
    ...options,
    perMessageDeflate: false,
    maxPayload: CONTROL_MESSAGE_MAX,
    handshakeTimeout: 3_000,
  });
  let reason = "The connection was closed.";
  socket.on("error", (error) => void (reason = error.message));
  socket.on("open", () => events.onOpen());
  socket.on("message", (data) => events.onMessage(String(data)));
  socket.on("close", (_code, text) => events.onClose(text.toString() || reason));
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(message);
    },
    close: () => socket.close(),
  };
}

const report = (message: FromIngress): void => tellParent(message);

const options = await startedByParent<IngressOptions>();
tellAlive();
const ingress = new Ingress(options, {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  random: () => Math.random(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  freshId: randomUUID,
  addresses: ownAddresses,
  connect,
  build: packageJson.version,
  pid: process.pid,
  incarnation: Date.now(),
  onReport: (r) => report({ type: "report", report: r }),
  log: (message) => console.error(`ingress: ${message}`),
});

let stopping = false;
async function stop(drainMs: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  await ingress.stop(drainMs);
  report({ type: "stopped" });
  process.exit(0);
}
process.on("SIGTERM", () => void stop(0));
process.on("message", (message: ToIngress) => {
  if (message.type === "spec") void ingress.useSpec(message.spec);
  else if (message.type === "stop") void stop(message.drainMs);
});

try {
  const ready = await ingress.start();
  setInterval(() => ingress.tick(), TICK_MS);
  tellParent({ type: "ready", result: ready });
  report({ type: "report", report: ready });
} catch (thrown) {
  const error = SkeinError.from(thrown);
  tellParent({ type: "failed", exit: OUTSIDE[error.code].exit, message: error.message });
  process.exitCode = OUTSIDE[error.code].exit;
  process.disconnect?.();
}
