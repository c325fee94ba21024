/**
 * The third party: replicas tell it of every run of a request, so that what ran twice, or for nobody, is seen by who neither asked nor answered.
 * Knows ids and pids, not what is allowed (verdict.ts).
 */
import { createServer, type AddressInfo, type Server } from "node:net";

/** One run of a request in a replica. */
export interface Run {
  readonly pid: number;
  /** When it was heard of, ms since 1970. Runs in two replicas are heard of in any order. */
  readonly at: number;
  ended: boolean;
}

export class Observer {
  readonly #server: Server;
  #runs = new Map<string, Run[]>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      let rest = "";
      socket.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) this.#heard(line);
      });
      socket.on("error", () => {});
    });
  }

  static async start(): Promise<Observer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Observer(server.unref());
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  runs(id: string): readonly Run[] {
    return this.#runs.get(id) ?? [];
  }

  forget(): void {
    this.#runs = new Map();
  }

  close(): void {
    this.#server.close();
  }

  #heard(line: string): void {
    const [pid = "", what, id = ""] = line.split(" ");
    const runs = this.#runs.get(id) ?? [];
    this.#runs.set(id, runs);
    if (what === "begin") runs.push({ pid: Number(pid), at: Date.now(), ended: false });
    else {
      const run = runs.find((one) => one.pid === Number(pid) && !one.ended);
      if (run !== undefined) run.ended = true;
    }
  }
}
