/**
 * More than one machine, as the README has it: A starts the mesh, B joins with the line that A prints and has an ingress of its own, C can only
 * dial out. Every machine is a network namespace; what goes between them goes through TLS.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { InstanceDetails, ReplicaDetails } from "../../protocol/status.ts";
import { Command } from "../system/command.ts";
import { eventually } from "../system/mesh.ts";
import { Machines, namespaceProblem, type Answered, type Machine } from "../system/namespaces.ts";

const APPS = fileURLToPath(new URL("../system/apps", import.meta.url));
const URL_OF_CLIENTS = "http://127.0.0.1:8000/";
const REPLICAS = 6;
const CLIENTS = 8;

let problem: string | null = null;
beforeAll(async () => void (problem = await namespaceProblem()));

let machines: Machines;
let folder: string;
let a: Machine;
let b: Machine;
let c: Machine;
let mesh: Command;
let pids: { coordinator: number };
const workers: Command[] = [];
const workerIds: string[] = [];

beforeEach(async (context) => {
  if (problem !== null) context.skip(problem);
  folder = mkdtempSync(join(tmpdir(), "skein-machines-"));
  machines = await Machines.make("a", "b", "c");
  [a, b, c] = machines.all as [Machine, Machine, Machine];
  mesh = skein(a, "start", "--mesh-host", "0.0.0.0", "--advertise", `https://${a.address}:8266`, ...WORKER);
  ({ pids } = await mesh.ready<{ pids: { coordinator: number } }>());
  const token = skein(a, "join-token", "create", "--uses", "2");
  await token.exit;
  const link = /^skein worker join "(.+)"\n$/.exec(token.out)?.[1] ?? "";
  for (const [machine, ...more] of [[b], [c, "--dial-out"]] as const) {
    const worker = skein(machine, "worker", "join", link, ...WORKER, ...more);
    workers.push(worker);
    workerIds.push((await worker.ready<{ workerId: string }>()).workerId);
  }
  const config = join(folder, "who.yaml");
  const who = { name: "who", import_path: "who:app", deployments: [{ name: "Who", num_replicas: REPLICAS }] };
  // YAML is a superset of JSON.
  writeFileSync(config, JSON.stringify({ proxy_location: "EveryNode", applications: [who] }));
  const deploy = skein(a, "deploy", config, "--app-dir", APPS, "--wait");
  if ((await deploy.exit) !== 0) throw new Error(`The deploy failed: ${deploy.err}`);
  // B's ingress starts because B has replicas now.
  for (const machine of [a, b])
    await eventually(async () => (await machine.ask(URL_OF_CLIENTS)).status === 200, `${machine.namespace} answers`);
});

afterEach(async () => {
  if (problem !== null) return;
  const ends = [];
  for (const command of [...workers.splice(0).reverse(), mesh]) ends.push(await command.stop());
  const left = await machines.remove();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  workerIds.length = 0;
  expect({ ends, left }).toEqual({ ends: [130, 130, 130], left: 0 });
});

const WORKER = ["--json-ready", "--cpus", "4", "--gpus", "0", "--device", "wasm"];

/** A command on a machine, with a data directory of that machine's own. */
function skein(machine: Machine, ...args: string[]): Command {
  return new Command([...args, "--data-dir", join(folder, machine.namespace)], { namespace: machine.namespace });
}

async function replicas(): Promise<ReplicaDetails[]> {
  const token = readFileSync(join(folder, a.namespace, "admin-token"), "utf8").trim();
  const { text } = await a.ask("http://127.0.0.1:8265/api/serve/applications/", {
    headers: { authorization: `Bearer ${token}` },
  });
  const { applications } = JSON.parse(text) as InstanceDetails;
  return Object.values(applications["who"]?.deployments["Who"]?.replicas ?? []).filter((r) => r.state === "RUNNING");
}
const idsOf = (list: readonly ReplicaDetails[]): string[] => list.map((r) => r.replica_id).sort();
/** The operators' API leaves application and deployment out. */
const whoAnswered = ({ text }: Answered): string =>
  (JSON.parse(text) as { replica: string }).replica.split("#").at(-1) ?? "";

/** Clients of one machine that ask one request after the other, each with a key of its own. */
class Keyed {
  readonly answers: Answered[] = [];
  #running = true;
  readonly #done: Promise<unknown>;

  constructor(machine: Machine) {
    this.#done = Promise.all(Array.from({ length: CLIENTS }, (_, client) => this.#ask(machine, client)));
  }
  get failed(): Answered[] {
    return this.answers.filter(({ status }) => status !== 200);
  }
  /** Replicas that have answered since the answer of this number. */
  since(count: number): string[] {
    const answers = this.answers.slice(count).filter(({ status }) => status === 200);
    return [...new Set(answers.map(whoAnswered))].sort();
  }
  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }
  async #ask(machine: Machine, client: number): Promise<void> {
    let n = 0;
    while (this.#running) {
      n += 1;
      const headers = { "idempotency-key": `${machine.namespace}-${client}-${n}` };
      this.answers.push(await machine.ask(URL_OF_CLIENTS, { method: "POST", headers, body: "{}" }));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** From now on exactly these answer there. */
async function answersCome(traffic: Keyed, from: readonly string[], what: string): Promise<void> {
  const start = traffic.answers.length;
  await eventually(() => traffic.since(start).length >= from.length, what).catch(() => {});
  expect(traffic.since(start)).toEqual(from);
}

describe("three machines, two with an ingress", () => {
  it("answer through either ingress from the replicas of all; who can only dial out listens to nobody", async () => {
    const running = await replicas();
    const placed = workerIds.map((id) => running.filter((r) => r.worker_id === id).length);
    expect([...placed, running.length]).toEqual([2, 2, REPLICAS]);
    for (const machine of [a, b]) {
      const traffic = new Keyed(machine);
      await answersCome(traffic, idsOf(running), "every replica has answered");
      await traffic.stop();
      expect(traffic.failed).toEqual([]);
    }
    expect((await c.ask(URL_OF_CLIENTS)).text).toContain("ECONNREFUSED");
    expect(await c.openPorts()).toEqual([]);
    // A: mesh port and ingress; B: its ingress. Neither speaks to one who comes without TLS.
    const open = [await a.openPorts(), await b.openPorts()];
    expect(open.map((ports) => ports.length)).toEqual([2, 1]);
    for (const [index, ports] of open.entries())
      for (const port of ports)
        expect(await c.ask(`http://${machines.all[index]!.address}:${port}/metrics`)).toMatchObject({ status: 0 });
  });

  it("go on, all with all, while the coordinator is dead; it comes back to the same replicas", async () => {
    const running = await replicas();
    const traffic = [new Keyed(a), new Keyed(b)];
    for (const one of traffic) await answersCome(one, idsOf(running), "every replica has answered");
    // Its parent would start it again at once.
    mesh.child.kill("SIGSTOP");
    process.kill(pids.coordinator, "SIGKILL");
    // Longer than any link lives without a sign of life: nothing of this went through the coordinator's relay.
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    for (const one of traffic) await answersCome(one, idsOf(running), "every replica answers still");
    mesh.child.kill("SIGCONT");
    await eventually(async () => (await replicas()).length === REPLICAS, "the coordinator knows them again");
    expect(new Set((await replicas()).map((r) => r.pid))).toEqual(new Set(running.map((r) => r.pid)));
    for (const one of traffic) await one.stop();
    for (const one of traffic) expect(one.failed).toEqual([]);
  });

  it("a cable is cut: both sides notice, serve with what they have, and no keyed request fails", async () => {
    const running = await replicas();
    const [onB = []] = workerIds.map((id) => running.filter((r) => r.worker_id === id));
    const traffic = [new Keyed(a), new Keyed(b)] as const;
    for (const one of traffic) await answersCome(one, idsOf(running), "every replica has answered");
    await machines.plugged(b, false);
    await eventually(async () => {
      const now = await replicas();
      return now.length === REPLICAS && now.every((r) => r.worker_id !== workerIds[0]);
    }, "the replicas of B are replaced on A and C");
    await answersCome(traffic[0], idsOf(await replicas()), "A serves with A and C");
    await answersCome(traffic[1], idsOf(onB), "B serves with B");
    await machines.plugged(b, true);
    await eventually(
      () => traffic[1].since(traffic[1].answers.length - 200).some((id) => !idsOf(onB).includes(id)),
      "B serves with the others again",
    );
    for (const one of traffic) await one.stop();
    expect(traffic.map((one) => one.failed)).toEqual([[], []]);
  });
});
