/** Binds a server, with one clear sentence when it can't. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SkeinError } from "../protocol/errors.ts";
import { HTTP_HEAD_TIMEOUT_MS } from "../protocol/limits.ts";

/** @returns the port, chosen by the system for 0. @throws CONFLICT for a busy port, PERMISSION_DENIED, INVALID_ARGUMENT for a bad address */
export function listen(
  server: Server,
  at: { readonly host: string; readonly port: number },
  what: string,
  flag: string,
): Promise<number> {
  server.headersTimeout = HTTP_HEAD_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const place = `${at.host}:${at.port}`;
      if (error.code === "EADDRINUSE")
        reject(
          new SkeinError(
            "CONFLICT",
            `Port ${at.port} for ${what} is in use on ${at.host}. Stop the program that has it (\`skein status\` shows a mesh that runs), or choose another with ${flag}.`,
          ),
        );
      else if (error.code === "EACCES")
        reject(
          new SkeinError(
            "PERMISSION_DENIED",
            `This user may not listen on ${place} (${what}). Choose a port above 1023 with ${flag}.`,
          ),
        );
      else reject(new SkeinError("INVALID_ARGUMENT", `Can't listen on ${place} (${what}): ${error.message}.`));
    };
    server.once("error", onError);
    server.listen(at.port, at.host, () => {
      server.off("error", onError);
      resolve((server.address() as AddressInfo).port);
    });
  });
}
