import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { FromReplica, ReplicaOptions, ToReplica } from "../../../protocol/local.ts";
import type { Child } from "../../../worker/agent/platform.ts";
import { LogFolder } from "../../../worker/node/log-folder.ts";
import { startReplicaProcess } from "../../../worker/node/replica-process.ts";
import { replicaSpec } from "../agent/specs.ts";

const PROGRAM = fileURLToPath(new URL("./fake-replica.ts", import.meta.url));
const folders: string[] = [];
const children: Child<ToReplica>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function run(userConfig: object, environment: Record<string, string | undefined> = process.env) {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-replica-")));
  folders.push(folder);
  mkdirSync(join(folder, "bundles"));
  const bundle = join(folder, "bundles", "x.mjs");
  writeFileSync(bundle, "");
  const secret = join(folder, "identity.json");
  writeFileSync(secret, "ticket");
  const logs = new LogFolder(join(folder, "logs"), {
    time: () => Date.now(),
    soon: (callback) => void setTimeout(callback, 5),
  });
  const scratch = join(folder, "scratch", "1");
  const compileCache = join(folder, "cache");
  mkdirSync(compileCache);
  const messages: FromReplica[] = [];
  let onReady: (seen: Record<string, unknown>) => void = () => {};
  let onExit: (how: string) => void = () => {};
  const ready = new Promise<Record<string, unknown>>((resolve) => (onReady = resolve));
  const exit = new Promise<string>((resolve) => (onExit = resolve));
  const options = {
    spec: replicaSpec("app#D#x", { userConfig: { read: secret, ...userConfig }, envVars: { DECLARED: "1" } }),
    bundle,
  } as unknown as ReplicaOptions;
  const child = startReplicaProcess(
    options,
    {
      onMessage: (message) => {
        messages.push(message);
        if (message.type === "status" && message.state === "ready")
          onReady(JSON.parse(message.progress ?? "{}") as Record<string, unknown>);
      },
      onExit: (how) => onExit(how),
    },
    { program: PROGRAM, environment, read: [join(folder, "bundles")], scratch, compileCache, logs },
  );
  children.push(child);
  return { child, ready, exit, messages, scratch, bundle, log: () => readFileSync(logs.pathOf("app#D#x"), "utf8") };
}

describe("a replica's process", () => {
  it("sees declared variables and the drivers', nothing else; reads its bundle, writes to its own folder only, starts nothing", async () => {
    const { ready, scratch, bundle } = run(
      {},
      {
        PATH: process.env["PATH"],
        HOME: "/root",
        OPENAI_API_KEY: "secret",
        SKEIN_ADMIN_TOKEN: "secret",
        NODE_OPTIONS: "--no-warnings",
        VK_ICD_FILENAMES: "/x.json",
      },
    );
    const seen = await ready;
    const names = (seen["environment"] as string[]).filter(
      (name) => !["NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE"].includes(name),
    );
    expect(names).toEqual([
      "DECLARED",
      "HOME",
      "MALLOC_MMAP_THRESHOLD_",
      "NODE_COMPILE_CACHE",
      "ORT_DISABLE_TELEMETRY",
      "PATH",
      "TEMP",
      "TMP",
      "TMPDIR",
      "VK_ICD_FILENAMES",
    ]);
    expect(seen).toMatchObject({
      cwd: scratch,
      writeHere: "done",
      readBundle: "done",
      writeElsewhere: "ERR_ACCESS_DENIED",
      writeCache: "ERR_ACCESS_DENIED",
      readSecret: "ERR_ACCESS_DENIED",
      startProgram: "ERR_ACCESS_DENIED",
    });
    expect(existsSync(`${bundle}.stolen`)).toBe(false);
  });

  it("is told to stop, and leaves nothing but its log", async () => {
    const { child, ready, exit, scratch, log } = run({ print: "hello\nworld" });
    await ready;
    child.tell({ type: "stop", timeoutMs: 0, waitLoopMs: 0 });
    expect(await exit).toBe("The process ended with exit code 0.");
    expect(existsSync(scratch)).toBe(false);
    const lines = log().trimEnd().split("\n");
    expect(lines.every((line) => /^\d{4}-\d\d-\d\dT[\d:.]+Z (out|err|info|skein) /.test(line))).toBe(true);
    expect(lines.map((line) => line.replace(/^\S+ /, ""))).toEqual(
      expect.arrayContaining([
        "out hello",
        "out world",
        "info by message",
        "skein The process ended with exit code 0.",
      ]),
    );
  });

  it("that ends by itself says how, with its last words", async () => {
    const { exit } = run({ exit: 3, complain: "Error: the disk is on fire" });
    expect(await exit).toBe("The process ended with exit code 3.\nError: the disk is on fire");
  });

  it("that spins is killed by its pid", async () => {
    const { child, ready, exit } = run({ spin: true });
    await ready;
    child.tell({ type: "stop", timeoutMs: 0, waitLoopMs: 0 });
    child.kill();
    expect(await exit).toBe("The process was ended by SIGKILL.");
    expect(() => process.kill(child.pid ?? 0, 0)).toThrow();
  });
});
