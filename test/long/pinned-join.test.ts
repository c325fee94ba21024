/** Joining a mesh with TLS, with real processes: by the join link's fingerprint, by an authority's signature, and not to an impostor. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { keptCertificate } from "../../protocol/node/certificate.ts";
import { signed } from "../support/authority.ts";
import { TlsListener } from "../support/tls-listener.ts";
import { Command } from "../system/command.ts";
import { eventually, SystemMesh, type MeshSettings } from "../system/mesh.ts";

const APPS = fileURLToPath(new URL("../system/apps", import.meta.url));
const WHO = { name: "who", import_path: "who:app" };

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "skein-join-"));
  undo.push(() => rmSync(path, { recursive: true, force: true, maxRetries: 10 }));
  return path;
}
function command(args: readonly string[], env: Readonly<Record<string, string>> = {}): Command {
  const started = new Command([...args, "--data-dir", folder()], { env });
  undo.push(() => started.stop());
  return started;
}
async function impostor(port = 0): Promise<{ heard: TlsListener; port: number }> {
  const heard = new TlsListener(await keptCertificate(folder(), Date.now()));
  undo.push(() => heard.close());
  return { heard, port: await heard.listen(port) };
}
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
async function start(settings: MeshSettings): Promise<SystemMesh> {
  const mesh = await SystemMesh.start({ appDir: APPS, ...settings });
  undo.push(() => mesh.stop());
  return mesh;
}
async function linkOf(mesh: SystemMesh): Promise<string> {
  const { link } = JSON.parse((await mesh.api("POST", "/api/skein/join-tokens", {})).text) as { link: string };
  return link;
}

it("a machine with the join link joins over wss, fetches code and serves; the link of another mesh is refused", async () => {
  const port = await freePort();
  const mesh = await start({
    workers: 0,
    mesh: { host: "0.0.0.0", port, advertise: [`https://127.0.0.1:${port}`] },
  });
  const link = await linkOf(mesh);
  expect(link).toMatch(new RegExp(`^https://127\\.0\\.0\\.1:${port}/join#token=[\\w-]+&sha256=[0-9a-f]{64}$`));
  const wrong = command(["worker", "join", link.replace(/sha256=.*/, `sha256=${"0".repeat(64)}`)]);
  expect(await wrong.exit).toBe(6);

  const worker = command(["worker", "join", link, "--json-ready", "--cpus", "4", "--gpus", "0"]);
  const { workerId } = await worker.ready<{ workerId: string }>();
  await mesh.deploy([WHO]);
  expect((await mesh.fetch("/")).status).toBe(200);
  expect((await mesh.replicas()).map((replica) => replica.worker_id)).toEqual([workerId]);
  const log = await mesh.api("GET", "/api/skein/logs/who");
  expect(log.text).toContain("who is here");
  expect(await worker.stop()).toBe(130);
});

it("an impostor hears nothing: not the token of who wants to join, in the link or in the environment", async () => {
  const { heard, port } = await impostor();
  const link = `https://127.0.0.1:${port}/join#token=the-secret&sha256=${"0".repeat(64)}`;
  for (const joining of [
    command(["worker", "join", link]),
    command(["worker", "join", link.replace("token=the-secret&", "")], { SKEIN_JOIN_TOKEN: "the-secret" }),
  ]) {
    expect(await joining.exit).toBe(6);
    expect(joining.err).toContain(`Another machine answers at 127.0.0.1:${port}`);
    expect(joining.err).not.toContain("the-secret");
  }
  expect(heard.connections).toBe(2);
  expect(heard.heard).toBe("");
});

it("an impostor in the place of a coordinator that is away hears no ticket; the mesh goes on and finds its coordinator again", async () => {
  const mesh = await start({ workers: 1, mesh: { host: "0.0.0.0" } });
  await mesh.deploy([WHO]);
  const { meshUrl } = mesh.coordinator.ready;
  expect(meshUrl).toMatch(/^https:.*#sha256=/);
  const base = await mesh.clientUrl();
  const { pid: replica } = (await mesh.replicas())[0]!;
  mesh.coordinator.child.kill("SIGKILL");
  await mesh.coordinator.exit;
  const { heard } = await impostor(Number(new URL(meshUrl).port));
  // Each alone, twice, so that neither's dialling passes for the other's.
  for (const still of [mesh.ingressPid(), mesh.agents[0]!.pid]) {
    process.kill(still, "SIGSTOP");
    const before = heard.connections;
    await eventually(() => heard.connections >= before + 2, "the other one has dialled").finally(() =>
      process.kill(still, "SIGCONT"),
    );
  }
  expect(heard.heard).toBe("");
  expect((await mesh.fetch("/", { base })).status).toBe(200);
  await heard.close();
  await mesh.startCoordinator();
  expect(mesh.coordinator.ready.meshUrl).toBe(meshUrl);
  await eventually(async () => (await mesh.replicas()).some((r) => r.state === "RUNNING"), "the worker is back");
  expect((await mesh.replicas()).map((r) => r.pid)).toEqual([replica]);
});

it("with an authority's signature no fingerprint is needed, and whoever doesn't trust it sends nothing", async () => {
  const files = folder();
  const made = await signed("localhost");
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((name) => join(files, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(ca, made.ca);
  writeFileSync(cert, made.cert);
  writeFileSync(key, made.key);
  const port = await freePort();
  const mesh = await start({
    workers: 1,
    mesh: { host: "0.0.0.0", port, advertise: [`https://localhost:${port}`], cert, key },
  });
  const link = await linkOf(mesh);
  expect(link).toMatch(new RegExp(`^https://localhost:${port}/join#token=[\\w-]+$`));
  const trusting = command(["worker", "join", link, "--json-ready", "--gpus", "0"], { NODE_EXTRA_CA_CERTS: ca });
  await trusting.ready();
  // Once is enough for the other kind: it waits for a coordinator that answers.
  const { heard, port: untrusted } = await impostor();
  const doubting = command(["worker", "join", `https://127.0.0.1:${untrusted}/join#token=the-secret`]);
  expect(await doubting.exit).toBe(5);
  expect(doubting.err).toContain("use the whole join link");
  expect(heard.heard).toBe("");
});

it("plain connections between machines are refused at both ends, in a sentence", async () => {
  const started = command([
    "start",
    "--mesh-host",
    "0.0.0.0",
    "--mesh-port",
    "0",
    "--dashboard-port",
    "0",
    "--advertise",
    "http://192.168.1.10:8266",
  ]);
  expect(await started.exit).toBe(2);
  expect(started.err).toContain("--advertise http://192.168.1.10:8266 is without encryption");
  const joining = command(["worker", "join", "http://192.168.1.10:8266/join#token=the-secret"]);
  expect(await joining.exit).toBe(2);
  expect(joining.err).toContain("http://192.168.1.10:8266 is without encryption");
  expect(joining.err).toContain("--insecure");
  expect(joining.err).not.toContain("the-secret");
});
