/** Every file in examples/ is run, here or where it is named below. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CommandMesh } from "../contract/command-mesh.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

const APPS = fileURLToPath(new URL("../contract/apps/", import.meta.url));

/** With models, with gRPC, or with the checkers. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "llm.ts": "test/system/quickstart.test.ts",
  "onnx.ts": "test/system/onnx.test.ts",
  "package.json": "test/system/quickstart.test.ts",
  "tsconfig.json": "test/checks.test.ts",
  "grpc/app.ts": "test/system/grpc.test.ts",
  "grpc/chat.proto": "test/system/grpc.test.ts",
  "grpc/grpc.yaml": "test/system/grpc.test.ts",
};

let mesh: CommandMesh;
beforeAll(async () => {
  mesh = await CommandMesh.start();
});
afterAll(() => mesh.stop());

/** Deployed as a user does it. */
async function deployed(name: string, folder = EXAMPLES, exported = "app"): Promise<string> {
  const { exit, stderr } = await mesh.command(["deploy", `${name}:${exported}`, "--app-dir", folder, "--wait"]);
  expect([exit, stderr]).toEqual([0, expect.stringContaining("All applications are running.")]);
  return `http://127.0.0.1:${await mesh.clientPort()}`;
}

const HERE: Readonly<Record<string, () => Promise<void>>> = {
  "noop.ts": async () => {
    const url = await deployed("noop");
    expect(await (await fetch(url)).text()).toBe("ok");
    expect(await (await fetch(url, { method: "POST", body: "echo" })).text()).toBe("echo");
  },
  "stream.ts": async () => {
    const url = await deployed("stream");
    expect(await (await fetch(`${url}/?n=3&delay=1`)).text()).toBe("chunk 0\nchunk 1\nchunk 2\n");
  },
  "compose.ts": async () => {
    const url = await deployed("compose");
    expect(await (await fetch(url, { method: "POST", body: '["ADD", 2]' })).text()).toBe("4 pizzas please!");
    expect(await (await fetch(url, { method: "POST", body: '["COUNT", 3]' })).text()).toBe("1\n2\n3\n");
  },
  "client-chat.ts": async () => {
    const url = await deployed("textbook_llm", APPS, "chat");
    const { stdout } = await promisify(execFile)(process.execPath, [`${EXAMPLES}client-chat.ts`, "a question", url]);
    expect(stdout).toBe("You said: a question\n");
  },
  "script.ts": async () => {
    const { exit, stdout, stderr } = await mesh.command(["exec", `${EXAMPLES}script.ts`]);
    expect([exit, stdout, stderr]).toEqual([0, "4 pizzas please!\n1\n2\n3\n", ""]);
  },
};

test.each(Object.entries(HERE))("%s", (_name, run) => run());

test("none is left out", () => {
  const files = readdirSync(EXAMPLES, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.replaceAll("//", "/").slice(EXAMPLES.length));
  expect(files.sort()).toEqual([...Object.keys(HERE), ...Object.keys(ELSEWHERE)].sort());
});
