/** Finds out before anything is started whether a port is free, so that a busy one is one clear sentence. */
import { createServer } from "node:net";
import { EXIT } from "../../protocol/errors.ts";
import { CommandFailed } from "../failure.ts";

/** Why nobody can listen at the address ("EADDRINUSE", "EACCES", …), or null when the port is free. Port 0 always is. */
export function portTrouble(host: string, port: number): Promise<string | null> {
  if (port === 0) return Promise.resolve(null);
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

export interface WantedPort {
  readonly host: string;
  readonly port: number;
  /** What listens there, and the option that moves it. */
  readonly purpose: string;
  readonly option: string;
}

/** Throws one sentence about the first port that can't be had. */
export async function requirePorts(wanted: readonly WantedPort[]): Promise<void> {
  for (const { host, port, purpose, option } of wanted) {
    const trouble = await portTrouble(host, port);
    if (trouble === null) continue;
    const why =
      trouble === "EADDRINUSE"
        ? `Port ${port} on ${host} is in use, and it is wanted for ${purpose}: stop the program that has it, or choose another port with ${option}.`
        : trouble === "EACCES"
          ? `Not allowed to listen on port ${port}: choose one above 1023 with ${option}.`
          : `Can't listen on ${host}:${port} for ${purpose} (${trouble}): choose another with ${option}.`;
    throw new CommandFailed(trouble === "EACCES" ? EXIT.notAllowed : EXIT.failed, why);
  }
}
