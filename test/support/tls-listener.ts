/** A TLS server that answers nothing and keeps every byte it decrypts: the impostor of tests, who must hear none. */
import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Certificate } from "../../protocol/node/certificate.ts";

export class TlsListener {
  heard = "";
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  constructor({ cert, key }: Pick<Certificate, "cert" | "key">) {
    this.#server = createServer({ cert, key }, (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("data", (bytes: Buffer) => void (this.heard += bytes.toString("latin1")));
    });
    this.#server.on("connection", () => (this.connections += 1)).on("tlsClientError", () => {});
  }

  async listen(port = 0): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => void this.#server.close(() => resolve()));
  }
}
