/** The small parts: suggestions, sentences for system errors, progress, log files, targets and ports. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { CommandFailed, explain } from "../../cli/failure.ts";
import { LogFile } from "../../cli/mesh/log-file.ts";
import { meshOptions, workerOptions } from "../../cli/mesh/options.ts";
import { requirePorts } from "../../cli/mesh/ports.ts";
import { Progress } from "../../cli/progress.ts";
import { nearest } from "../../cli/suggest.ts";
import { appDirOf, readArguments, readTarget, withoutLocalFolder } from "../../cli/target.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { ChildFailed } from "../../protocol/node/parent.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-cli-small-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("suggestions: near words only, whatever their case and dashes", () => {
  const keys = ["num_replicas", "name", "max_ongoing_requests"];
  expect(["num_replica", "numReplicas", "nmae", "max-ongoing-request"].map((word) => nearest(word, keys))).toEqual([
    "num_replicas",
    "num_replicas",
    "name",
    "max_ongoing_requests",
  ]);
  expect(nearest("zebra", keys)).toBeUndefined();
  expect(nearest("x", [])).toBeUndefined();
});

test("every kind of failure is one sentence and an exit code", () => {
  const system = (code: string, path?: string): Error => Object.assign(new Error(`${code}: raw`), { code, path });
  expect(explain(system("ENOSPC"))).toEqual({
    exit: 1,
    message: "The disk is full: free some space (a model takes a few hundred megabytes), then repeat the command.",
  });
  expect(explain(system("ENOENT", "/a/b"))).toEqual({ exit: 4, message: "There is no such file or folder: /a/b." });
  expect(explain(system("EACCES", "/a"))).toMatchObject({ exit: 6 });
  expect(explain(system("EWHATEVER"))).toEqual({ exit: 1, message: "EWHATEVER: raw" });
  expect(explain(new ChildFailed("Port 8265 is in use.", 1))).toEqual({ exit: 1, message: "Port 8265 is in use." });
  expect(explain(new SkeinError("UNAVAILABLE", "nobody"))).toEqual({ exit: 5, message: "nobody" });
  expect(explain(new CommandFailed(7, "late"))).toEqual({ exit: 7, message: "late" });
  expect(explain("text")).toEqual({ exit: 1, message: "text" });
});

describe("progress", () => {
  test("on a terminal one line is written over", () => {
    let text = "";
    const progress = new Progress(
      (more) => (text += more),
      true,
      () => 0,
    );
    progress.show("a 1 %");
    progress.show("a 2 %");
    progress.show("a 2 %");
    progress.clear();
    progress.clear();
    expect(text).toBe("\r\x1b[Ka 1 %\r\x1b[Ka 2 %\r\x1b[K");
  });

  test("elsewhere a line for each stage, and now and then within one", () => {
    let text = "";
    let now = 0;
    const progress = new Progress(
      (more) => (text += more),
      false,
      () => now,
    );
    for (let percent = 0; percent <= 100; percent += 10) {
      progress.show(`downloading ${percent} %`);
      now += 1_500;
    }
    progress.show("loading");
    progress.clear();
    expect(text).toBe("downloading 0 %\ndownloading 70 %\nloading\n");
  });
});

test("a log file stays bounded and keeps the tail of this life", () => {
  const log = new LogFile(join(folder, "logs"), "x.log");
  for (let i = 0; i < 9; i += 1) log.write(Buffer.alloc(1024 * 1024, 97 + i));
  log.write(Buffer.from("the end"));
  expect(readFileSync(join(folder, "logs", "x.log")).length).toBe(1024 * 1024 + 7);
  expect(readFileSync(join(folder, "logs", "x.log.1")).length).toBe(4 * 1024 * 1024);
  expect(log.tail(7)).toBe("the end");
});

test("a log file that can't be written costs nothing but lines", () => {
  writeFileSync(join(folder, "file"), "");
  const log = new LogFile(join(folder, "file", "logs"), "x.log");
  log.write(Buffer.from("kept in memory"));
  expect(log.tail(100)).toBe("kept in memory");
});

describe("targets", () => {
  test("arguments of builders", () => {
    expect(readArguments(["a=1", "b=x=y", "c="])).toEqual({ a: "1", b: "x=y", c: "" });
    expect(() => readArguments(["=x"])).toThrow(
      "Invalid application argument '=x', must be of the form '<key>=<val>'.",
    );
  });

  test("module:export is one application", async () => {
    expect(
      await readTarget(
        "llm:chat",
        ["model=tiny"],
        { name: "a", routePrefix: "/a", workingDir: "sub", runtimeEnvJson: { env_vars: { X: "1" } } },
        folder,
      ),
    ).toEqual({
      kind: "import",
      application: {
        name: "a",
        route_prefix: "/a",
        import_path: "llm:chat",
        args: { model: "tiny" },
        runtime_env: { env_vars: { X: "1" }, working_dir: "sub" },
      },
    });
  });

  test("a file takes no arguments and no --name", async () => {
    writeFileSync(join(folder, "a.yaml"), "applications:\n- import_path: llm:chat\n");
    await expect(readTarget("a.yaml", ["x=1"], {}, folder)).rejects.toMatchObject({ exit: 2 });
    await expect(readTarget("a.yaml", [], { name: "x" }, folder)).rejects.toMatchObject({ exit: 2 });
    expect(await readTarget("a.yaml", [], {}, folder)).toMatchObject({
      kind: "config",
      input: { applications: [{ import_path: "llm:chat" }] },
    });
  });

  test("where modules are looked up", async () => {
    const target = await readTarget("llm:chat", [], {}, folder);
    expect(appDirOf({ import_path: "llm:chat" }, target, undefined, "/w")).toBe("/w");
    expect(appDirOf({ import_path: "llm:chat" }, target, "apps", "/w")).toBe("/w/apps");
    expect(appDirOf({ import_path: "llm:chat", runtime_env: { working_dir: "here" } }, target, "apps", "/w")).toBe(
      "/w/here",
    );
    expect(
      appDirOf({ import_path: "llm:chat", runtime_env: { working_dir: "s3://x/y.zip" } }, target, undefined, "/w"),
    ).toBe("/w");
    expect(
      withoutLocalFolder({ import_path: "llm:chat", runtime_env: { working_dir: "here", env_vars: { A: "1" } } })
        .runtime_env,
    ).toEqual({ env_vars: { A: "1" } });
    expect(
      withoutLocalFolder({ import_path: "llm:chat", runtime_env: { working_dir: "s3://x/y.zip" } }).runtime_env,
    ).toEqual({ working_dir: "s3://x/y.zip" });
  });
});

describe("options of a mesh", () => {
  const place = { dataDir: "/d", cwd: "/w", machine: "laptop", state: "run", worker: true } as const;

  test("loopback and Ray's ports unless told otherwise", () => {
    expect(meshOptions({}, place)).toMatchObject({
      coordinator: {
        operators: { host: "127.0.0.1", port: 8265 },
        mesh: { host: "127.0.0.1", port: 8266, insecure: false },
        http: null,
        appDir: "/w",
        state: "run",
        again: false,
        insecureLocalApi: false,
      },
      worker: {
        name: "laptop",
        device: "auto",
        allowSoftwareGpu: false,
        ingressMesh: { host: "127.0.0.1", port: 0, disabled: false },
      },
    });
    expect(meshOptions({ httpPort: 0 }, place).coordinator.http).toEqual({ port: 0 });
  });

  test("a mesh that other machines reach has an ingress that they reach, by the names it is advertised with", () => {
    const flags = { meshHost: "0.0.0.0", advertise: ["https://192.168.1.10:8266", "https://box.example:9"] };
    expect(meshOptions(flags, place).worker?.ingressMesh).toMatchObject({
      host: "0.0.0.0",
      names: ["192.168.1.10", "box.example"],
    });
    expect(meshOptions({ ...flags, ingressHost: "127.0.0.1" }, place).worker?.ingressMesh.host).toBe("127.0.0.1");
  });

  test("mistakes are usage errors", () => {
    expect(() => meshOptions({ cert: "a.pem" }, place)).toThrow("--cert and --key go together.");
    for (const resources of ["{", "[]", '{"a": "b"}', '{"a": -1}'])
      expect(() => workerOptions({ resources }, place, { host: "127.0.0.1", names: [] })).toThrow(
        "--resources wants JSON",
      );
    expect(workerOptions({ resources: '{"scanner": 1}' }, place, { host: "127.0.0.1", names: [] }).resources).toEqual({
      scanner: 1,
    });
  });
});

test("a busy port is one sentence with the option that moves it", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const wanted = [{ host: "127.0.0.1", port, purpose: "the mesh", option: "--mesh-port" }];
  await expect(requirePorts(wanted)).rejects.toMatchObject({
    exit: 1,
    message: `Port ${port} on 127.0.0.1 is in use, and it is wanted for the mesh: stop the program that has it, or choose another port with --mesh-port.`,
  });
  await new Promise((resolve) => server.close(resolve));
  await requirePorts(wanted);
});
