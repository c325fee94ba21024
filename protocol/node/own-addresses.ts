/** By which addresses other machines reach this one. */
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";

/** Every IPv4 address but loopback's. */
export const ownAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter((a) => !a.internal && a.family === "IPv4").map((a) => a.address),
  );

/** The address that this machine has on its way to `host`; null when there is no way. Sends nothing: the system only looks up the route. */
export function addressTowards(host: string, port: number): Promise<string | null> {
  const plain = host.replace(/^\[|\]$/g, "");
  const socket = createSocket(plain.includes(":") ? "udp6" : "udp4");
  return new Promise((resolve) => {
    const end = (address: string | null): void => {
      socket.close();
      resolve(address);
    };
    socket.once("error", () => end(null));
    socket.connect(port, plain, () => end(socket.address().address));
  });
}
