/**
 * How Node's and ws's clients reach an address of the mesh. Where it names a fingerprint, the peer's key is compared before the request is
 * given its socket: a wrong peer gets a handshake and not one byte of a token. Nothing else of its certificate counts.
 */
import type { ClientRequestArgs } from "node:http";
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { readAddress } from "../address.ts";
import { SkeinError } from "../errors.ts";
import { DIAL_TIMEOUT_MS } from "../limits.ts";
import { fingerprintOf } from "./certificate.ts";

/** Who answers isn't who should. */
export class WrongKey extends SkeinError {
  constructor(url: string, found: string, expected: string) {
    super(
      "PERMISSION_DENIED",
      `Another machine answers at ${new URL(url).host}: its key has the fingerprint ${found}, the join link says ${expected}. Nothing was sent to it. ` +
        "If the mesh's data directory is new, make a new link with `skein join-token create`; else somebody stands between.",
    );
  }
}

type Created = (error: Error | null, socket: TLSSocket) => void;

export interface Dial {
  /** For the client: without a fragment, which ws refuses. */
  readonly url: string;
  /** Options for it. */
  readonly options: { readonly createConnection?: (options: ClientRequestArgs, created: Created) => undefined };
}

/** Throws INVALID_ARGUMENT as `readAddress` does. */
export function dial(address: string): Dial {
  const { url, fingerprint } = readAddress(address);
  if (fingerprint === null) return { url, options: {} };
  return {
    url,
    options: {
      createConnection: (options, created) => {
        const host = (options.host ?? options.hostname ?? "").replace(/^\[|\]$/g, "");
        const socket = connect({
          host,
          port: Number(options.port ?? 443),
          servername: isIP(host) === 0 ? host : "",
          // Its key decides, below: names, dates and signers say nothing that the fingerprint doesn't.
          rejectUnauthorized: false,
        });
        const failed = (error: Error): void => {
          socket.destroy();
          created(error, socket);
        };
        socket.setTimeout(DIAL_TIMEOUT_MS, () =>
          failed(new SkeinError("UNAVAILABLE", `${url} doesn't answer within ${DIAL_TIMEOUT_MS} ms.`)),
        );
        socket.once("error", failed);
        socket.once("secureConnect", () => {
          const certificate = socket.getPeerX509Certificate();
          const found = certificate === undefined ? "none" : fingerprintOf(certificate);
          if (found !== fingerprint) return failed(new WrongKey(url, found, fingerprint));
          socket.off("error", failed);
          socket.setTimeout(0).removeAllListeners("timeout");
          created(null, socket);
        });
      },
    },
  };
}
