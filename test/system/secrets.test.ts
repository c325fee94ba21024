/**
 * Known secrets through every entry point of a real mesh, started by the command as a person does; then every sink is searched for them.
 * What belongs somewhere is said here, with the reason. Also: what a default mesh listens on.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { InstanceDetails } from "../../protocol/status.ts";
import { eventually, processesOf } from "./mesh.ts";
import { leaks, leaksInFiles, leaksInProcesses, listeners, TICKET, TOKEN_SHAPED } from "./sinks.ts";

const COMMAND = fileURLToPath(new URL("../../cli/compiled.mjs", import.meta.url));
const APPS = fileURLToPath(new URL("./apps", import.meta.url));
const UP_WITHIN_MS = 120_000;

const ADMIN = `admin${"A1".repeat(19)}`;
/** In the environment of the person who starts the mesh, for other meshes and applications. */
const OF_THE_PERSON = {
  SKEIN_ADMIN_TOKEN: `canary-admin-${"x7".repeat(12)}`,
  SKEIN_JOIN_TOKEN: `canary-join-${"y8".repeat(12)}`,
  SKEIN_API_KEY: `canary-key-${"z9".repeat(12)}`,
};

interface Said {
  readonly exit: number | string | null;
  readonly out: string;
  readonly err: string;
}
interface Started {
  readonly child: ChildProcess;
  readonly said: { out: string; err: string };
  readonly exit: Promise<number | string | null>;
}

let folder: string;
let dataDir: string;
let mesh: Started;
let worker: Started | undefined;
let operators: string;
let meshUrl: string;
let client: string;
let apiKey: string;
let keyId: string;
let joinToken: string;
let joinLink = "";
const secrets: Record<string, string | RegExp> = {};
/** What commands and answers said, by what was asked; and which secrets are meant to be copied from there. */
const said: { readonly where: string; readonly text: string; readonly meant: readonly string[] }[] = [];

function start(args: readonly string[], env: Record<string, string>): Started {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, SKEIN_TEST_MESH: folder, ...env },
  });
  const texts = { out: "", err: "" };
  child.stdout!.on("data", (bytes: Buffer) => void (texts.out += String(bytes)));
  child.stderr!.on("data", (bytes: Buffer) => void (texts.err += String(bytes)));
  const exit = new Promise<number | string | null>((resolve) =>
    child.once("exit", (code, how) => resolve(code ?? how)),
  );
  return { child, said: texts, exit };
}

/** Runs a verb to its end on this mesh. `meant`: secrets that it is there to print. */
async function skein(
  line: string,
  options: { env?: Record<string, string>; meantOut?: string[]; dir?: string } = {},
): Promise<Said> {
  const started = start(
    [...line.split(" "), ...(options.dir === "" ? [] : ["--data-dir", dataDir])],
    options.env ?? {},
  );
  const exit = await started.exit;
  said.push({ where: `stdout of skein ${line}`, text: started.said.out, meant: options.meantOut ?? [] });
  said.push({ where: `stderr of skein ${line}`, text: started.said.err, meant: [] });
  return { exit, ...started.said };
}

/** One request; status, headers and body are kept for the search. */
async function ask(
  url: string,
  init: RequestInit = {},
  meant: string[] = [],
): Promise<{ status: number; text: string }> {
  const answer = await fetch(url, init);
  const text = await answer.text();
  const head = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  said.push({ where: `answer ${answer.status} of ${url}`, text: `${head}\n${text}`, meant });
  return { status: answer.status, text };
}
const bearer = (token: string): RequestInit => ({ headers: { authorization: `Bearer ${token}` } });
const status = async (): Promise<InstanceDetails> =>
  (await (await fetch(`${operators}/api/serve/applications/`, bearer(ADMIN))).json()) as InstanceDetails;

const running = async (count: number): Promise<boolean> => {
  const { applications } = await status();
  const replicas = Object.values(applications["vault"]?.deployments ?? {}).flatMap((d) => d.replicas);
  return applications["vault"]?.status === "RUNNING" && replicas.filter((r) => r.state === "RUNNING").length === count;
};

beforeAll(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-secrets-")));
  dataDir = join(folder, "data");
  mkdirSync(dataDir, { mode: 0o700 });
  writeFileSync(join(dataDir, "admin-token"), `${ADMIN}\n`, { mode: 0o600 });
  const small = ["--cpus", "4", "--gpus", "0", "--device", "wasm", "--log-level", "debug"];
  const ports = ["--dashboard-port", "0", "--mesh-port", "0", "--http-port", "0"];
  mesh = start(["start", "--data-dir", dataDir, "--json-ready", "--app-dir", APPS, ...ports, ...small], OF_THE_PERSON);
  const line = await Promise.race([
    new Promise<string>((resolve) => createInterface({ input: mesh.child.stdout! }).once("line", resolve)),
    mesh.exit.then((how) => `It ended: ${how} ${mesh.said.err}`),
  ]);
  const ready = JSON.parse(line) as { operatorsUrl: string; meshUrl: string };
  ({ operatorsUrl: operators, meshUrl } = ready);
  Object.assign(secrets, {
    "admin token": ADMIN,
    "signing key": readFileSync(join(dataDir, "coordinator", "signing-key.pem"), "utf8").split("\n")[1]!,
    "a ticket": TICKET,
    ...OF_THE_PERSON,
  });
}, UP_WITHIN_MS);

afterAll(async () => {
  for (const started of [worker, mesh]) {
    started?.child.kill("SIGINT");
    await started?.exit;
  }
  expect(processesOf(folder)).toEqual(new Map());
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}, UP_WITHIN_MS);

describe("secrets", () => {
  it("are made, and shown once to whoever made them", async () => {
    const key = await skein("api-key create --app vault --name canary", { meantOut: ["API key"] });
    apiKey = key.out.trim();
    keyId = apiKey.split("-")[1]!;
    expect(apiKey).toMatch(/^skein-[0-9a-f]{12}-[\w-]{43}$/);
    // The line to paste has the link that a browser opens, too: the token is in its fragment.
    const token = await skein("join-token create --uses 5", { meantOut: ["join token"] });
    joinLink = /http[^"\s]+/.exec(token.out)?.[0] ?? "";
    joinToken = new URLSearchParams(new URL(joinLink).hash.slice(1)).get("token") ?? "";
    expect(joinToken).not.toBe("");
    expect(new URL(joinLink).search).toBe("");
    Object.assign(secrets, { "API key": apiKey, "secret of the API key": apiKey.slice(-43), "join token": joinToken });
  });

  it("go through every entry point", async () => {
    // Once, also when this is tried again.
    worker ??= start(
      [
        "worker",
        "join",
        meshUrl,
        "--data-dir",
        join(folder, "second"),
        "--cpus",
        "4",
        "--gpus",
        "0",
        "--log-level",
        "debug",
      ],
      { ...OF_THE_PERSON, SKEIN_JOIN_TOKEN: joinToken },
    );
    const deployed = await skein(`deploy vault:app --name vault --app-dir ${APPS} --wait`, {
      env: { SKEIN_API_KEY: OF_THE_PERSON.SKEIN_API_KEY, SKEIN_JOIN_TOKEN: OF_THE_PERSON.SKEIN_JOIN_TOKEN },
    });
    expect({ ...deployed, exit: 0 }).toEqual(deployed);
    await eventually(async () => (await status()).skein.workers.length === 2, "the second worker has joined");
    const target = (await status()).target_groups.find((group) => group.protocol === "HTTP")!.targets[0]!;
    client = `http://127.0.0.1:${target.port}`;

    // Callers, with good keys and bad ones, on paths that answer, fail, don't exist.
    for (const path of ["/", "/fail", "/-/routes", "/-/healthz", "/deep/path?query=1"])
      await ask(`${client}${path}`, bearer(apiKey));
    expect((await ask(client, bearer(apiKey))).status).toBe(200);
    for (const wrong of [ADMIN, joinToken, `${apiKey.slice(0, -1)}_`, `skein-ffffffffffff-${"q".repeat(43)}`])
      expect((await ask(client, bearer(wrong))).status).toBe(401);
    expect((await ask(client)).status).toBe(401);
    const socket = new WebSocket(client.replace("http", "ws"), { headers: { authorization: `Bearer ${apiKey}` } });
    await new Promise((resolve) =>
      socket
        .on("error", resolve)
        .on("close", resolve)
        .on("open", () => socket.close()),
    );
    await skein(`chat hello --url ${client}/`, { dir: "", env: { SKEIN_API_KEY: apiKey } });
    await skein(`chat hello --url ${client}/`, { dir: "", env: { SKEIN_API_KEY: ADMIN } });

    // Operators, right and wrong.
    for (const verb of [
      "status --json",
      "status",
      "config --json",
      "api-key list --json",
      "api-key list",
      "join-token list --json",
      "logs vault",
      "doctor --json",
      "doctor",
    ])
      await skein(verb);
    for (const wrong of [apiKey, joinToken, "nonsense"])
      expect((await skein("status", { env: { SKEIN_ADMIN_TOKEN: wrong } })).exit).toBe(6);
    for (const path of [
      "/",
      "/page.js",
      "/api/skein/page",
      "/api/skein/workers",
      "/api/skein/api-keys",
      "/api/skein/join-tokens",
      "/api/skein/logs/vault",
      "/metrics",
      "/api/ray/version",
      "/nothing",
    ])
      for (const token of [ADMIN, apiKey]) await ask(`${operators}${path}`, bearer(token));

    // Joining, wrong in every way: on the wire and by the command.
    for (const credential of [ADMIN, apiKey, "nonsense"]) {
      const peer = new WebSocket(`${meshUrl.replace("http", "ws")}/control`);
      const texts: string[] = [];
      peer.on("message", (data) => texts.push(String(data)));
      const join = {
        type: "join",
        protocol: { min: 1, max: 1 },
        build: "t",
        role: "worker",
        credential,
        id: "x",
        host: "h",
        incarnation: 1,
      };
      peer.on("open", () => peer.send(JSON.stringify(join)));
      await new Promise((resolve) => peer.on("close", resolve));
      said.push({ where: "refusal of a join", text: texts.join("\n"), meant: [] });
    }
    // Whatever listens, also the ingresses for their replicas: numbers for everyone on this machine.
    const metrics: string[] = [];
    for (const address of listeners(processesOf(folder).keys()))
      metrics.push((await ask(`http://${address}/metrics`)).text);
    expect(metrics.join("\n")).toContain("skein_");
    for (const path of ["/join", "/blobs/x", "/models/x", "/metrics"])
      await ask(`${meshUrl}${path}`, bearer(joinToken));
  });

  it("and through crashes: of a replica by its own hand, of ingress, worker and coordinator by the kernel's", async () => {
    await eventually(() => running(2), "both replicas run");
    await fetch(`${client}/die`, { method: "POST", ...bearer(apiKey) }).catch(() => {});
    await eventually(() => running(2), "the replica is back");
    for (const program of [/ingress\/main/, /coordinator\/main/, /agent-main/]) {
      const alive = (): number[] =>
        [...processesOf(folder)].filter(([, command]) => program.test(command)).map(([pid]) => pid);
      const before = alive();
      process.kill(before[0]!, "SIGKILL");
      await eventually(() => !alive().includes(before[0]!) && alive().length === before.length, `${program} is back`);
      await eventually(() => running(2), "both replicas run again");
      await eventually(async () => (await ask(client, bearer(apiKey))).status === 200, "the application answers");
      // Keys outlive all of it.
      expect((await ask(client)).status).toBe(401);
    }
  });

  it("revoking shuts the key out", async () => {
    const second = (await skein("api-key create --app vault", { meantOut: ["second key"] })).out.trim();
    secrets["second key"] = second;
    await eventually(async () => (await ask(client, bearer(second))).status === 200, "the second key is known");
    expect((await skein(`api-key revoke ${keyId}`)).exit).toBe(0);
    await eventually(async () => (await ask(client, bearer(apiKey))).status === 401, "the first key is not");
    expect((await ask(client, bearer(second))).status).toBe(200);
  });

  it("are in no file but those that are there to hold them", () => {
    const { found, read } = leaksInFiles(folder, secrets, [
      // The operators' credential and the mesh's key, readable by the owner only.
      [/^data\/admin-token$/, ["admin token"]],
      [/^data\/coordinator\/signing-key\.pem$/, ["signing key"]],
      // A worker's own ticket, with which it comes back without a join token.
      [/^(data|second)\/workers\/\d+\/identity\.json$/, ["a ticket"]],
    ]);
    expect(found).toEqual([]);
    // The search was of what there is: state, logs of programs and replicas, access log, the ingress's table.
    for (const kind of [
      /coordinator\/state\.db/,
      /logs\/(coordinator|worker)\.log$/,
      /logs\/vault_Vault_.*\.log$/,
      /ingress-access\.log$/,
      /workers\/\d+\/ingress\//,
      /identity\.json$/,
    ])
      expect([kind, read.some((path) => kind.test(path))]).toEqual([kind, true]);
    const holders = read.filter((path) => /admin-token|signing-key\.pem|identity\.json|state\.db/.test(path));
    for (const path of holders) {
      const open = dirname(path) === "data" || !path.startsWith("data/coordinator") ? path : dirname(path);
      expect([path, statSync(join(folder, open)).mode & 0o077]).toEqual([path, 0]);
    }
  });

  it("are in no log or answer, nor is anything of their form", () => {
    const form = "a token of some kind";
    const { found } = leaksInFiles(folder, { [form]: TOKEN_SHAPED }, [[/^(?!.*\.log$)/, [form]]]);
    expect(found).toEqual([]);
    expect(said.length).toBeGreaterThan(60);
    expect(said.flatMap(({ where, text, meant }) => leaks(where, text, secrets, [...meant, ...alike(meant)]))).toEqual(
      [],
    );
    for (const [name, { said: texts }] of Object.entries({ mesh, worker: worker! }))
      expect(leaks(`output of the ${name}`, texts.out + texts.err, { ...secrets, [form]: TOKEN_SHAPED })).toEqual([]);
    expect(said.map(({ where }) => where).filter((where) => /[?&](token|key|ticket|credential)=/i.test(where))).toEqual(
      [],
    );
  });

  it("are in no command line, and in no environment but that of the command to which a person gave them", () => {
    const processes = processesOf(folder);
    const given = Object.keys(OF_THE_PERSON);
    const meant = new Map([
      [mesh.child.pid!, given],
      [worker!.child.pid!, [...given, "join token"]],
    ]);
    expect([...processes.values()].filter((command) => command.includes("replica-main")).length).toBeGreaterThanOrEqual(
      2,
    );
    for (const program of ["coordinator/main", "ingress/main", "agent-main"])
      expect([...processes.values()].filter((command) => command.includes(program))).not.toEqual([]);
    expect(leaksInProcesses(processes, secrets, meant)).toEqual([]);
  });

  it("would be found: by the search in files, outputs, command lines and environments", () => {
    const planted = mkdtempSync(join(folder, "planted-"));
    mkdirSync(join(planted, "deep"));
    writeFileSync(join(planted, "deep", "leak.log"), `x${apiKey}y`);
    expect(leaksInFiles(planted, secrets, []).found).toContain("API key in deep/leak.log");
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60_000)", joinToken], { env: { LEAK: ADMIN } });
    const found = leaksInProcesses(new Map([[child.pid!, "leaker"]]), secrets, new Map());
    child.kill("SIGKILL");
    expect(found.sort()).toEqual(["admin token in environ of leaker", "join token in cmdline of leaker"]);
    expect(TOKEN_SHAPED.test(`token ${joinToken}.`)).toBe(true);
    rmSync(planted, { recursive: true });
  });
});

it("a mesh as it is by default listens on loopback and nowhere else", () => {
  const open = listeners(processesOf(folder).keys());
  const ports = [operators, meshUrl, client].map((url) => new URL(url).port);
  expect(open.map((address) => address.split(":").at(-1))).toEqual(expect.arrayContaining(ports));
  expect(open.filter((address) => !/^(127\.0\.0\.1|\[::1\]):\d+$/.test(address))).toEqual([]);
});

/** A key holds its own secret part. */
const alike = (meant: readonly string[]): string[] => (meant.includes("API key") ? ["secret of the API key"] : []);
