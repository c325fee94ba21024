/** Ports that processes listen on, as the kernel says. Linux only, as the system tests are. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const LISTEN = "0A";

export function listeningPorts(pids: Iterable<number>): Set<number> {
  const ports = new Map<string, number>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"])
    for (const line of readFileSync(table, "utf8").split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === LISTEN) ports.set(fields[9] ?? "", Number.parseInt(fields[1]?.split(":")[1] ?? "", 16));
    }
  const found = new Set<number>();
  for (const pid of pids) {
    try {
      for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
        const socket = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${descriptor}`));
        const port = ports.get(socket?.[1] ?? "");
        if (port !== undefined) found.add(port);
      }
    } catch {
      // It, or the descriptor, is gone meanwhile.
    }
  }
  return found;
}
