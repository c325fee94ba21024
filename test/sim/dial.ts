/** How agents and ingresses reach a coordinator: any of those that listen, where there are two. */
import { pickOne } from "../support/random.ts";
import type { SimProcess } from "./process.ts";
import type { Scene } from "./scene.ts";

interface ControlEvents {
  onOpen(): void;
  onMessage(message: string): void;
  onClose(reason: string): void;
}

export function dialCoordinator(
  scene: Scene,
  process: SimProcess,
  events: ControlEvents,
): { send(message: string): void; close(reason?: string): void } {
  const find = () => {
    const listening = [...scene.coordinators];
    return listening.length === 0 ? null : pickOne(scene.network.random, listening).listener();
  };
  const end = scene.network.dial("control", process, "coordinator", find, {
    onOpen: () => events.onOpen(),
    onMessage: (message) => events.onMessage(message as string),
    onClose: (_code, reason) => events.onClose(reason),
  });
  return { send: (message) => end.send(message), close: (reason) => end.close(1000, reason ?? "") };
}
