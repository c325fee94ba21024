/**
 * Machines for tests: network namespaces of Linux, each with an address of its own, on a switch of their own that reaches nothing else.
 * `remove` ends whatever still runs in them. Needs root and `ip`, which it installs where there is apt.
 */
import { execFile, fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const CLIENT = fileURLToPath(new URL("./inside-main.ts", import.meta.url));
/** A request that hangs is a failed one, ms. */
const ANSWER_WITHIN_MS = 30_000;
/** 127.0.0.1 as /proc/net/tcp has it: hexadecimal, low byte first. */
const LOOPBACK = "0100007F";
const run = promisify(execFile);
const ip = async (...args: string[]): Promise<string> => (await run("ip", args)).stdout;

/** Why there can be no namespaces here, or null. Installs iproute2 if it is missing and can be had. */
export async function namespaceProblem(): Promise<string | null> {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  try {
    if (!(await has("ip", "-V"))) {
      if (!(await has("apt-get", "--version")))
        return "there is no ip (iproute2), and no apt-get that would install it";
      await run("apt-get", ["update"]);
      await run("apt-get", ["install", "-y", "--no-install-recommends", "iproute2"]);
    }
    const probe = `skein-${process.pid}-probe`;
    await ip("netns", "add", probe);
    await ip("netns", "del", probe);
    return null;
  } catch (error) {
    return `no network namespace could be made: ${(error as Error).message.trim()}`;
  }
}

const has = (program: string, flag: string): Promise<boolean> =>
  run(program, [flag]).then(
    () => true,
    () => false,
  );

/** What goes to a client in a namespace, and what comes back. Status 0: no answer, and why. */
export interface Asked {
  readonly id: number;
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly withinMs: number;
}
export interface Answered {
  readonly id: number;
  readonly status: number;
  readonly text: string;
}

export class Machine {
  readonly namespace: string;
  readonly address: string;
  readonly #client: ChildProcess;
  readonly #waiting = new Map<number, (answered: Answered) => void>();
  #next = 0;

  constructor(namespace: string, address: string) {
    this.namespace = namespace;
    this.address = address;
    // As `ip netns exec` does it: the wrapper becomes Node, which has the channel to us.
    this.#client = fork(CLIENT, {
      execPath: "ip",
      execArgv: ["netns", "exec", namespace, process.execPath],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#client.on("message", (answered: Answered | "here") => {
      if (answered === "here") return;
      this.#waiting.get(answered.id)?.(answered);
      this.#waiting.delete(answered.id);
    });
  }

  started(): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#client
        .once("message", () => resolve())
        .once("exit", (code) => reject(new Error(`The client in ${this.namespace} ended (${code}).`))),
    );
  }

  /** A request from this machine. */
  ask(url: string, wish: { method?: string; headers?: Record<string, string>; body?: string } = {}): Promise<Answered> {
    const asked: Asked = {
      id: (this.#next += 1),
      url,
      method: "GET",
      headers: {},
      body: "",
      withinMs: ANSWER_WITHIN_MS,
      ...wish,
    };
    return new Promise((resolve) => {
      this.#waiting.set(asked.id, resolve);
      this.#client.send(asked);
    });
  }

  /** Ports on which something listens for other machines. */
  async openPorts(): Promise<number[]> {
    const { stdout } = await run("ip", ["netns", "exec", this.namespace, "cat", "/proc/net/tcp", "/proc/net/tcp6"]);
    const rows = stdout.split("\n").map((line) => line.trim().split(/\s+/));
    const listening = rows.flatMap(([, local = "", , state]) => (state === "0A" ? [local.split(":")] : []));
    return listening.filter(([address]) => address !== LOOPBACK).map(([, port = ""]) => Number.parseInt(port, 16));
  }

  /** Process ids in the namespace. */
  async pids(): Promise<number[]> {
    const text = await ip("netns", "pids", this.namespace);
    return text
      .split("\n")
      .filter(Boolean)
      .map(Number)
      .filter((pid) => pid !== this.#client.pid);
  }

  close(): void {
    this.#client.kill("SIGKILL");
  }
}

export class Machines {
  readonly #hub = `skein-${process.pid}-hub`;
  readonly #names: string[] = [];
  readonly #machines: Machine[] = [];

  static async make(...names: string[]): Promise<Machines> {
    const machines = new Machines();
    try {
      await machines.#add(machines.#hub);
      await ip("-n", machines.#hub, "link", "add", "switch", "type", "bridge");
      await ip("-n", machines.#hub, "link", "set", "switch", "up");
      for (const name of names) await machines.#plug(name);
      return machines;
    } catch (error) {
      await machines.remove();
      throw error;
    }
  }

  get all(): readonly Machine[] {
    return this.#machines;
  }

  /** Nothing gets in or out any more, without a word to either side; or again. */
  async plugged(machine: Machine, plugged: boolean): Promise<void> {
    await ip("-n", this.#hub, "link", "set", `to-${this.#machines.indexOf(machine)}`, plugged ? "up" : "down");
  }

  /** Ends what is left in the namespaces. @returns how many processes that were */
  async remove(): Promise<number> {
    let left = 0;
    for (const machine of this.#machines) {
      const pids = await machine.pids().catch(() => []);
      left += pids.length;
      for (const pid of pids) process.kill(pid, "SIGKILL");
      machine.close();
    }
    for (const name of this.#names.splice(0)) await ip("netns", "del", name).catch(() => "");
    return left;
  }

  async #add(namespace: string): Promise<void> {
    await ip("netns", "add", namespace);
    this.#names.push(namespace);
    await ip("-n", namespace, "link", "set", "lo", "up");
  }

  async #plug(name: string): Promise<void> {
    const namespace = `skein-${process.pid}-${name}`;
    const index = this.#machines.length;
    const address = `192.168.1.${10 + index}`;
    await this.#add(namespace);
    const ends = ["peer", "name", `to-${index}`, "netns", this.#hub];
    await ip("link", "add", "name", "eth0", "netns", namespace, "type", "veth", ...ends);
    await ip("-n", this.#hub, "link", "set", `to-${index}`, "master", "switch", "up");
    await ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
    await ip("-n", namespace, "link", "set", "eth0", "up");
    const machine = new Machine(namespace, address);
    this.#machines.push(machine);
    await machine.started();
  }
}
