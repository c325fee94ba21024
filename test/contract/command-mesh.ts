/** A mesh for the recordings: `skein start` from compiled programs, on free ports, with the fixtures as its application folder. */
import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { ApplicationDetails, InstanceDetails } from "../../protocol/status.ts";
import { eventually, processesOf } from "../system/mesh.ts";

const COMMAND = fileURLToPath(new URL("../../cli/compiled.mjs", import.meta.url));
const APPS = fileURLToPath(new URL("./apps", import.meta.url));
const APPLICATIONS = "/api/serve/applications/";

/** On two busy cores, with the programs to be compiled first. */
const UP_WITHIN_MS = 90_000;
const STOPPED_WITHIN_MS = 30_000;

export interface ApiAnswer {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
}

/** What a command printed, and how it ended. */
export interface Said {
  readonly exit: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CommandMesh {
  readonly folder: string;
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | string | null>;
  operatorsUrl = "";
  #token = "";

  private constructor() {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-contract-")));
    const apps = join(this.folder, "apps");
    cpSync(APPS, apps, { recursive: true });
    // Only here: no checker of this repository could read it.
    writeFileSync(join(apps, "ct_syntax.ts"), 'import { deployment } from "skein";\nfunction broken(: {\n}\n');
    const flags = {
      "data-dir": join(this.folder, "data"),
      "app-dir": apps,
      "dashboard-port": "0",
      "mesh-port": "0",
      cpus: "4",
      gpus: "0",
      device: "wasm",
      "log-level": "warn",
    };
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
    this.#child = spawn(process.execPath, [COMMAND, "start", "--json-ready", ...args], {
      stdio: ["ignore", "pipe", process.env["SKEIN_TEST_OUTPUT"] === undefined ? "ignore" : "inherit"],
      env: { ...process.env, SKEIN_TEST_MESH: this.folder },
    });
    this.#exit = new Promise((resolve) => this.#child.once("exit", (code, signal) => resolve(code ?? signal)));
  }

  static async start(): Promise<CommandMesh> {
    const mesh = new CommandMesh();
    const ready = await Promise.race([
      new Promise<string>((resolve) => createInterface({ input: mesh.#child.stdout! }).once("line", resolve)),
      mesh.#exit.then((how) => `It ended: ${how}`),
      new Promise<string>((resolve) =>
        setTimeout(() => resolve(`It was not up within ${UP_WITHIN_MS} ms.`), UP_WITHIN_MS).unref(),
      ),
    ]);
    if (!ready.startsWith("{")) {
      await mesh.stop().catch(() => {});
      throw new Error(`The mesh did not start. ${ready}`);
    }
    const { operatorsUrl, adminTokenFile } = JSON.parse(ready) as { operatorsUrl: string; adminTokenFile: string };
    mesh.operatorsUrl = operatorsUrl;
    mesh.#token = readFileSync(adminTokenFile, "utf8").trim();
    return mesh;
  }

  /** A request to the operators' API. A text body goes as it is. */
  async api(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    const answer = await fetch(new URL(path, this.operatorsUrl), {
      method,
      headers: { authorization: `Bearer ${this.#token}`, "content-type": "application/json" },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: answer.status, type: answer.headers.get("content-type"), text: await answer.text() };
  }

  /** PUTs these applications (and nothing else) with listeners on free ports. */
  async put(applications: readonly object[], httpOptions: object = {}): Promise<ApiAnswer> {
    return this.api("PUT", APPLICATIONS, {
      http_options: { port: 0, ...httpOptions },
      grpc_options: { port: 0 },
      applications,
    });
  }

  /** PUTs and waits until no application is being deployed or deleted. */
  async deploy(
    applications: readonly object[],
    httpOptions: object = {},
    unsettled: readonly string[] = [],
  ): Promise<void> {
    const answer = await this.put(applications, httpOptions);
    if (answer.status !== 200) throw new Error(`The deploy was answered ${answer.status}: ${answer.text}`);
    await this.settled(applications.length, unsettled);
    await eventually(async () => (await this.clientPort().catch(() => null)) !== null, "the client listener is there");
  }

  /** `unsettled`: names of applications that can't be deployed and stay DEPLOYING. */
  async settled(count: number, unsettled: readonly string[] = []): Promise<void> {
    const done = (app: ApplicationDetails): boolean =>
      unsettled.includes(app.name) || !["DEPLOYING", "DELETING", "NOT_STARTED"].includes(app.status);
    let last = "";
    await eventually(async () => {
      const apps = Object.values((await this.status()).applications);
      last = apps.map((app) => `${app.name} ${app.status}`).join(", ");
      return apps.length === count && apps.every(done);
    }, "the applications have settled").catch((error: unknown) => {
      throw new Error(`${String(error)}: ${last}`);
    });
  }

  async status(query = ""): Promise<InstanceDetails> {
    return JSON.parse((await this.api("GET", APPLICATIONS + query)).text) as InstanceDetails;
  }

  async application(name: string): Promise<ApplicationDetails> {
    const app = (await this.status()).applications[name];
    if (app === undefined) throw new Error(`There is no application ${name}.`);
    return app;
  }

  /** `skein <args>` in the folder of the applications, against this mesh. */
  async command(
    args: readonly string[],
    more: { input?: string; env?: Readonly<Record<string, string>> } = {},
  ): Promise<Said> {
    const child = spawn(process.execPath, [COMMAND, ...args], {
      cwd: join(this.folder, "apps"),
      env: { ...process.env, ...more.env, SKEIN_DATA_DIR: join(this.folder, "data"), SKEIN_TEST_MESH: this.folder },
    });
    const said = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (said.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said.stderr += text));
    child.stdin.end(more.input ?? "");
    const exit = await new Promise<number | string | null>((resolve) =>
      child.once("close", (code, signal) => resolve(code ?? signal)),
    );
    return { exit, ...said };
  }

  /** What replicas of an application have written, those that are gone too. */
  logsOf(app: string): string {
    const files = readdirSync(join(this.folder, "data"), { recursive: true, encoding: "utf8" });
    return files
      .filter((file) => basename(file).startsWith(`${app}_`) && file.endsWith(".log"))
      .map((file) => readFileSync(join(this.folder, "data", file), "utf8"))
      .join("");
  }

  async clientPort(): Promise<number> {
    const target = (await this.status()).target_groups.find((group) => group.protocol === "HTTP")?.targets[0];
    if (target === undefined) throw new Error("No ingress listens for clients.");
    return target.port;
  }

  /** As Ctrl-C does. Fails if a process is left. */
  async stop(): Promise<void> {
    this.#child.kill("SIGINT");
    const how = await Promise.race([
      this.#exit,
      new Promise((resolve) => setTimeout(() => resolve("still running"), STOPPED_WITHIN_MS).unref()),
    ]);
    await eventually(() => processesOf(this.folder).size === 0, "no process is left", STOPPED_WITHIN_MS).catch(
      () => {},
    );
    const left = processesOf(this.folder);
    for (const pid of left.keys()) process.kill(pid, "SIGKILL");
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10 });
    if (left.size > 0 || how !== 130)
      throw new Error(`The mesh ended with ${String(how)} and left ${JSON.stringify([...left])}.`);
  }
}
