import { fork, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { AgentOptions, AgentReady } from "../../../protocol/local.ts";
import { ChildFailed, childReady, spawnChild } from "../../../protocol/node/parent.ts";
import { assignment, replicaSpec } from "../agent/specs.ts";
import { eventually, FakeMesh } from "./fake-mesh.ts";

const AGENT = fileURLToPath(new URL("../../../worker/node/agent-main.ts", import.meta.url));
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function agentOptions(meshUrl: string, dataDir: string): AgentOptions {
  return {
    dataDir,
    meshUrls: [meshUrl],
    joinToken: "join-token",
    hostId: null,
    name: "test",
    allowSoftwareGpu: false,
    cpus: 2,
    gpus: 0,
    resources: {},
    device: "wasm",
    ingressMesh: { host: "127.0.0.1", port: 0, names: [], advertise: [], disabled: true },
    logLevel: "info",
  };
}

function startAgent(options: AgentOptions): {
  child: ChildProcess;
  ready: Promise<AgentReady>;
  exit: Promise<number | string | null>;
} {
  const child = spawnChild(AGENT, { output: "ignore" });
  undo.push(() => child.kill("SIGKILL"));
  const exit = new Promise<number | string | null>((resolve) =>
    child.on("exit", (code, signal) => resolve(signal ?? code)),
  );
  return { child, ready: childReady<AgentOptions, AgentReady>(child, options), exit };
}

async function mesh() {
  const fake = new FakeMesh();
  const url = await fake.start();
  undo.push(() => fake.stop());
  const dataDir = mkdtempSync(join(tmpdir(), "skein-agent-"));
  undo.push(() => rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 }));
  return { fake, url, dataDir };
}

const alive = (pid: number): boolean => {
  try {
    // A zombie that nobody has waited for yet counts as dead.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

describe("the agent's program", () => {
  it("joins, fetches and starts a replica, sends its log, survives a broken link, and stops with nothing left", async () => {
    const { fake, url, dataDir } = await mesh();
    const { child, ready, exit } = startAgent(agentOptions(url, dataDir));
    const { workerId, capabilities } = await ready;
    expect(fake.joins[0]).toMatchObject({ role: "worker", credential: "join-token", id: workerId });
    expect(capabilities).toMatchObject({ cpus: 2, gpus: 0, kind: "node", providers: ["wasm"], adapter: null });

    // A bundle that isn't an application: the replica's process says so, and ends.
    const artefact = await fake.addArtefact();
    fake.say(assignment(1, [replicaSpec("app#D#1", { artefact })]));
    const failed = await eventually(
      () => fake.reports.at(-1)?.replicas.find((r) => r.state === "failed"),
      "the replica fails",
    );
    expect(failed).toMatchObject({ replica: "app#D#1", startup: true });
    expect(failed.error).not.toBe("");
    expect(fake.blobRequests.every((r) => r.authorization === "Bearer the.ticket")).toBe(true);
    expect(
      fake.reports.some((r) => r.replicas.some((replica) => replica.state === "starting" && replica.pid !== null)),
    ).toBe(true);

    fake.say({ type: "logs", replica: "app#D#1", reader: "r1", follow: false, tailBytes: 10_000 });
    const log = await eventually(
      () => fake.logs.find((l) => /Z error app#D#1 could not start/.test(l.text)),
      "the log arrives",
    );
    expect(log).toMatchObject({ reader: "r1", authorization: "Bearer the.ticket" });

    fake.drop();
    await eventually(() => fake.joins[1], "it joins again");
    expect(fake.joins[1]).toMatchObject({
      credential: "the.ticket",
      id: workerId,
      incarnation: fake.joins[0]?.incarnation,
    });

    child.send({ type: "stop" });
    expect(await exit).toBe(0);
    await eventually(() => fake.left, "its farewell arrives");
    // The next life of this worker is the same worker.
    const again = startAgent(agentOptions(url, dataDir));
    expect((await again.ready).workerId).toBe(workerId);
    expect(fake.joins.at(-1)?.incarnation).toBeGreaterThan(fake.joins[0]?.incarnation ?? 0);
  });

  it("says in a sentence why it was refused, and ends with the exit code for that", async () => {
    const { fake, url, dataDir } = await mesh();
    fake.refuse = { code: "UNAUTHENTICATED", message: "Joining was refused." };
    const error = await startAgent(agentOptions(url, dataDir)).ready.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ChildFailed);
    expect(error).toMatchObject({ message: "Joining was refused.", exit: 6 });
    const bad = await startAgent({ ...agentOptions(url, dataDir), meshUrls: ["nonsense"] }).ready.catch(
      (thrown: unknown) => thrown,
    );
    expect(bad).toMatchObject({ exit: 2 });
  });

  it("dies with its parent, and its replicas with it", async () => {
    const { fake, url, dataDir } = await mesh();
    // A parent of its own, to be killed: it starts an agent and waits for ever.
    const parent = `
      import { childReady, spawnChild } from ${JSON.stringify(new URL("../../../protocol/node/parent.ts", import.meta.url).href)};
      const child = spawnChild(${JSON.stringify(AGENT)}, { output: "ignore" });
      await childReady(child, ${JSON.stringify(agentOptions(url, dataDir))});
      process.send(child.pid);`;
    const script = join(dataDir, "parent.mjs");
    writeFileSync(script, parent);
    const killed = fork(script, [], { stdio: "ignore" });
    undo.push(() => killed.kill("SIGKILL"));
    const agentPid = await new Promise<number>((resolve) => killed.on("message", (pid) => resolve(Number(pid))));
    const artefact = await fake.addArtefact();
    fake.say(assignment(1, [replicaSpec("app#D#1", { artefact })]));
    const pid = await eventually(
      () => fake.reports.flatMap((r) => r.replicas).find((r) => r.pid !== null)?.pid,
      "the replica has a process",
    );
    expect(alive(agentPid)).toBe(true);
    killed.kill("SIGKILL");
    await eventually(() => !alive(agentPid) && !alive(pid), "agent and replica are gone");
  });
});
