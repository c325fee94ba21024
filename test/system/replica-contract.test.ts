/**
 * One contract, kept by a replica in a Node process and by one in a browser's tab, side by side in one mesh of real processes,
 * asked through the real ingress: chat, stream, cancel, a reader that stops, a crash, a worker that goes away, an ingress that starts again.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { MIB } from "../../protocol/limits.ts";
import { browserKitProblem, chromiumEnv, chromiumExecutable } from "../support/browser-kit.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { writeRepository } from "../support/tiny-onnx.ts";
import { eventually, SystemMesh } from "./mesh.ts";

const APPS = fileURLToPath(new URL("./apps", import.meta.url));
const PROMPT = JSON.stringify("Once upon a time");
const KINDS = ["node", "browser"] as const;
type Kind = (typeof KINDS)[number];
/** Whatever is on its way between generator and client: windows of two links and sockets' buffers. */
const ON_ITS_WAY_MAX = 32 * MIB;

const problem = browserKitProblem();
describe.skipIf(problem)(`a replica${problem ? ` (skipped: ${problem})` : ""}`, () => {
  let mesh: SystemMesh;
  let folder = "";
  beforeAll(async () => {
    // The coordinator gives tabs only checkpoints of the application folder.
    folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-contract-")));
    cpSync(join(APPS, "contract.ts"), join(folder, "contract.ts"));
    writeFileSync(join(folder, "tiny.gguf"), makeTinyGguf().bytes);
    await writeRepository(join(folder, "encoder"), makeTinyEncoder().contents);
    const env = { ...(await chromiumEnv()), SKEIN_CHROME: await chromiumExecutable() };
    mesh = await SystemMesh.start({
      workers: KINDS.length,
      appDir: folder,
      agent: (index) => ({
        resources: { [KINDS[index]!]: 1 },
        ...(KINDS[index] === "browser"
          ? { program: "worker/browser/launcher-main.ts", env, device: "auto", allowSoftwareGpu: true, gpus: null }
          : {}),
      }),
    });
    await mesh.deploy(KINDS.map((on) => application(on, on)));
  });
  afterAll(async () => {
    await mesh?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const application = (name: string, on: Kind, gpus = 0): object => ({
    name,
    route_prefix: `/${name}`,
    import_path: "contract:app",
    args: { model: join(folder, "tiny.gguf"), on, gpus },
  });
  const ask = async <T>(path: string, body = ""): Promise<T> => {
    const answer = await mesh.fetch(path, { method: body === "" ? "GET" : "POST", body });
    if (answer.status !== 200) throw new Error(`${path} was answered ${answer.status}: ${answer.text}`);
    return JSON.parse(answer.text) as T;
  };
  const counts = (kind: Kind): Promise<{ running: number; given: number }> => ask(`/${kind}/counts`);
  const answers = (kind: Kind): Promise<void> =>
    eventually(async () => (await ask<{ kind: Kind }>(`/${kind}/who`)).kind === kind, `the ${kind} replica answers`);

  it("in a tab gives the tokens that one in Node gives, on wasm and on WebGPU, and says that it is in a tab", async () => {
    await mesh.deploy([...KINDS.map((on) => application(on, on)), application("gpu", "browser", 1)]);
    const told = await Promise.all(
      ["node", "browser", "gpu"].map((name) =>
        ask<{ replica: string; kind: Kind; text: string }>(`/${name}/chat`, PROMPT),
      ),
    );
    const who = await Promise.all(
      ["node", "browser", "gpu"].map((name) =>
        ask<{ replicaId: string; workerId: string; provider: string; isTab: boolean }>(`/${name}/who`),
      ),
    );
    expect(told.map((answer) => answer.kind)).toEqual(["node", "browser", "browser"]);
    expect(who.map((answer) => [answer.provider, answer.isTab])).toEqual([
      ["wasm", false],
      ["wasm", true],
      ["webgpu", true],
    ]);
    expect(told[0]?.text.length).toBeGreaterThan(10);
    expect(told[1]?.text).toBe(told[0]?.text);
    expect(told[2]?.text).toBe(told[0]?.text);
    // The answer came from the tab's replica, as the coordinator knows it.
    const replicas = await mesh.replicas();
    const tab = mesh.agents[1]!.ready;
    expect(tab.capabilities).toMatchObject({ kind: "browser", gpus: 1 });
    expect(replicas.find((r) => r.replica_id === told[1]?.replica.split("#").at(-1))).toMatchObject({
      worker_id: tab.workerId,
      pid: null,
      state: "RUNNING",
    });
    expect(who[1]).toMatchObject({ workerId: tab.workerId, replicaId: told[1]?.replica });
    await mesh.deploy(KINDS.map((on) => application(on, on)));
  });

  it("makes an encoder's vectors, from a folder of files, in a tab too", async () => {
    const both = KINDS.map((on) => application(on, on));
    const args = { model: join(folder, "encoder"), on: "browser" };
    await mesh.deploy([...both, { name: "vectors", route_prefix: "/vectors", import_path: "contract:vectors", args }]);
    const [vector] = await ask<number[][]>("/vectors", JSON.stringify(["the river"]));
    const expected = referenceEmbedding(TINY_ENCODER, makeTinyEncoder().weights, [2, 4, 5, 3]);
    expect(vector).toEqual([...expected].map((value) => expect.closeTo(value, 4) as number));
    await mesh.deploy(both);
  });

  describe.each(KINDS)("in %s", (kind) => {
    it("streams a generation", async () => {
      const whole = await ask<{ text: string }>(`/${kind}/chat`, PROMPT);
      const stream = await open(`/${kind}/stream`, PROMPT);
      const pieces: string[] = [];
      for await (const piece of stream.setEncoding("utf8")) pieces.push(piece as string);
      expect(stream.headers["content-type"]).toBe("text/plain; charset=utf-8");
      expect(pieces.join("")).toBe(whole.text);
    });

    it("stops a generator whose client is gone", async () => {
      const stream = await open(`/${kind}/endless`);
      stream.resume();
      await eventually(async () => (await counts(kind)).running === 1, "the generator runs");
      stream.destroy();
      await eventually(async () => (await counts(kind)).running === 0, "the generator has ended");
    });

    it("stops within its window for a reader that stops, and serves others meanwhile", async () => {
      const before = (await counts(kind)).given;
      const stream = await open(`/${kind}/endless`);
      let last = -1;
      await eventually(async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        const now = (await counts(kind)).given;
        const stands = now === last && now > before;
        last = now;
        return stands;
      }, "the generator stands");
      expect(last - before).toBeLessThan(ON_ITS_WAY_MAX);
      expect((await ask<{ kind: Kind }>(`/${kind}/chat`, PROMPT)).kind).toBe(kind);
      stream.destroy();
      await eventually(async () => (await counts(kind)).running === 0, "the generator has ended");
    });

    it("is replaced when its code crashes", async () => {
      const before = await ask<{ replicaId: string }>(`/${kind}/who`);
      await mesh.fetch(`/${kind}/crash`).catch(() => {});
      await eventually(
        async () => (await ask<{ replicaId: string }>(`/${kind}/who`)).replicaId !== before.replicaId,
        "another replica answers",
      );
      expect((await ask<{ kind: Kind }>(`/${kind}/chat`, PROMPT)).kind).toBe(kind);
    });

    it("prints into its log, which the operators' API reads", async () => {
      await mesh.fetch(`/${kind}/print`);
      await eventually(
        async () => (await mesh.api("GET", `/api/skein/logs/${kind}`)).text.includes(`printed by ${kind}`),
        "the line is in the log",
      );
    });

    it("goes on when the ingress has been killed and started again", async () => {
      const before = await ask<{ replicaId: string }>(`/${kind}/who`);
      const pid = mesh.ingressPid();
      process.kill(pid, "SIGKILL");
      await eventually(() => mesh.ingressPid() !== pid, "the ingress runs again");
      await answers(kind);
      expect(await ask(`/${kind}/who`)).toMatchObject({ replicaId: before.replicaId });
    });
  });

  it("goes with the tab that is closed; the browser's program ends, nothing is left, and the same worker may come back", async () => {
    const { pid, exit, ready } = mesh.agents[1]!;
    const browser = descendants(pid);
    expect(browser.length).toBeGreaterThan(2);
    process.kill(
      browser.find((id) => commandOf(id).includes("--type=renderer"))!,
      "SIGKILL",
    );
    expect(await exit).toBe(1);
    await eventually(() => !browser.some(isAlive), "no process of the browser is left");
    expect((await ask<{ kind: Kind }>("/node/chat", PROMPT)).kind).toBe("node");
    const again = await mesh.startAgent(1);
    expect(again.pid).not.toBe(pid);
    expect(again.ready.workerId).toBe(ready.workerId);
    await answers("browser");
    // Killed itself, the program takes its browser with it.
    const browserAgain = descendants(again.pid);
    process.kill(again.pid, "SIGKILL");
    await eventually(() => !browserAgain.some(isAlive), "the browser has ended with its program");
    await mesh.startAgent(1);
    await answers("browser");
  });

  async function open(path: string, body = ""): Promise<IncomingMessage> {
    const url = new URL(path, await mesh.clientUrl());
    return new Promise((resolve, reject) => {
      const outgoing = request(url, { method: body === "" ? "GET" : "POST", agent: false }, (answer) => {
        answer.on("error", () => {});
        resolve(answer);
      });
      outgoing.on("error", reject);
      outgoing.end(body);
    });
  }
});

/** Chromium's processes overwrite the environment by which the mesh's others are found: they are known by who started them. Linux only. */
function descendants(pid: number): number[] {
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => [Number(name), parentOf(Number(name))] as const);
  const below = (parent: number): number[] =>
    parents.filter(([, of]) => of === parent).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
}

const parentOf = (pid: number): number => Number(/^PPid:\s+(\d+)$/m.exec(statusOf(pid))?.[1] ?? 0);
const isAlive = (pid: number): boolean => /^State:\s+[^ZX]/m.test(statusOf(pid));
const statusOf = (pid: number): string => readOr(`/proc/${pid}/status`);
const commandOf = (pid: number): string => readOr(`/proc/${pid}/cmdline`).replaceAll("\0", " ");

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // It has ended.
    return "";
  }
}
