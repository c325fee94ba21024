/** A server of a test on 127.0.0.1. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Listens on a free port. Disposed of, it hangs up on everybody. */
export async function listening(server: Server): Promise<AsyncDisposable & { readonly endpoint: string }> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
