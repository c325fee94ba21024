/** `skein` as a process, in a network namespace if one is named, and what it says. */
import { spawn, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { eventually } from "./mesh.ts";

const COMMAND = fileURLToPath(new URL("../../cli/compiled.mjs", import.meta.url));
const STOPPED_WITHIN_MS = 60_000;

export class Command {
  out = "";
  err = "";
  ended: number | string | null = null;
  readonly child: ChildProcess;
  readonly exit: Promise<number | string>;

  constructor(args: readonly string[], options: { env?: Readonly<Record<string, string>>; namespace?: string } = {}) {
    const line = [process.execPath, COMMAND, ...args];
    // It becomes the command: its process id is the command's.
    const [program = "", ...rest] =
      options.namespace === undefined ? line : ["ip", "netns", "exec", options.namespace, ...line];
    this.child = spawn(program, rest, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, SKEIN_JOIN_TOKEN: undefined, ...options.env },
    });
    this.child.stdout?.on("data", (bytes: Buffer) => void (this.out += bytes.toString("utf8")));
    this.child.stderr?.on("data", (bytes: Buffer) => void (this.err += bytes.toString("utf8")));
    this.exit = new Promise((resolve) =>
      this.child.once("close", (code, signal) => resolve((this.ended = signal ?? code ?? 1))),
    );
    this.child.once("error", (error) => void (this.err += error.message));
  }

  /** Its JSON line on stdout (`--json-ready`); rejects with what it said if it ends instead. */
  async ready<Ready>(): Promise<Ready> {
    await eventually(() => this.out.includes("\n") || this.ended !== null, "the command is ready");
    if (!this.out.includes("\n")) throw new Error(`The command ended (${this.ended}): ${this.err}`);
    return JSON.parse(this.out) as Ready;
  }

  /** As Ctrl-C does; resolves when it has ended. */
  async stop(): Promise<number | string> {
    this.child.kill("SIGINT");
    const kill = setTimeout(() => this.child.kill("SIGKILL"), STOPPED_WITHIN_MS);
    const how = await this.exit;
    clearTimeout(kill);
    return how;
  }
}
