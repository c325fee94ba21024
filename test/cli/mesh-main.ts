/** A parent of two stand-ins (mesh-child-main.ts) as a process of its own, so that a test can kill it. Argument: data directory. */
import { Mesh } from "../../cli/mesh/mesh.ts";
import { meshOptions } from "../../cli/mesh/options.ts";
import { launch } from "../../cli/mesh/programs.ts";
import { fakeShell } from "./shell.ts";

const dataDir = process.argv[2] ?? "";
const child = new URL("mesh-child-main.ts", import.meta.url);
const shell = {
  ...fakeShell({ realTime: true }),
  note: (line: string) => void process.stdout.write(`${JSON.stringify({ note: line })}\n`),
};
const mesh = new Mesh(
  meshOptions(
    { dashboardPort: 0, meshPort: 0 },
    { dataDir, cwd: dataDir, machine: "test", state: "run", worker: true },
  ),
  shell,
  {
    coordinator: (options) => launch(child, "coordinator", options, dataDir),
    agent: (options) => launch(child, "worker", options, dataDir),
  },
);
const tell = (): void =>
  void process.stdout.write(`${JSON.stringify({ url: mesh.addresses.operatorsUrl, pids: mesh.pids })}\n`);
process.on("SIGUSR2", tell);
process.on("SIGINT", () => void mesh.stop().then(() => process.exit(130)));
await mesh.start(shell.stop);
tell();
