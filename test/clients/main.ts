/**
 * Real clients against the OpenAI API of a real mesh: the openai packages of npm and pip, the AI SDK, LangChain.js, Anthropic's package, curl. Not part of `npm test`: the
 * packages are installed into a temporary folder from their registries, 150 MB. Prints a line for each client; exits with 1 when one fails.
 *
 *   node setup.mjs run clients [name…]
 */
import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { defaultModelPath, encoderModelPath } from "../support/default-model.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { SystemMesh } from "../system/mesh.ts";
import { startScripted } from "./scripted.ts";

const run = promisify(execFile);
const PROGRAMS = fileURLToPath(new URL("./programs/", import.meta.url));
const NPM = [
  "openai@7.57.0",
  "zod@4.6.7",
  "ai@7.0.173",
  "@ai-sdk/openai-compatible@3.0.92",
  "@langchain/openai@1.6.0",
  "@langchain/core@1.4.0",
  "@anthropic-ai/sdk@1.14.0",
];
const PIP = ["openai==3.57.0"];
/** A client that says nothing for this long, ms, hangs. */
const WITHIN_MS = 180_000;

const wanted = process.argv.slice(2);
const programs = readdirSync(PROGRAMS).filter(
  (name) => wanted.length === 0 || wanted.some((word) => name.startsWith(word)),
);
const folder = mkdtempSync(join(tmpdir(), "skein-clients-"));
let mesh: SystemMesh | undefined;
let failed = 0;
try {
  for (const name of programs) copyFileSync(join(PROGRAMS, name), join(folder, name));
  if (programs.some((name) => name.endsWith(".mjs"))) {
    writeFileSync(join(folder, "package.json"), '{"private":true,"type":"module"}');
    await run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...NPM], { cwd: folder });
  }
  if (programs.some((name) => name.endsWith(".py"))) {
    await run("python3", ["-m", "venv", join(folder, "venv")]);
    await run(join(folder, "venv/bin/pip"), ["install", "--quiet", "--disable-pip-version-check", ...PIP]);
  }
  const tiny = join(folder, "tiny.gguf");
  writeFileSync(tiny, makeTinyGguf().bytes);
  mesh = await SystemMesh.start({ appDir: folder, agent: () => ({ device: "native" }) });
  const settings = { num_gpus: 0, num_cpus: 1 };
  const chat = { ...settings, source: await defaultModelPath(), id: "chat" };
  const encoder = { num_gpus: 0, num_cpus: 0.5, source: await encoderModelPath(), id: "encoder" };
  await mesh.deploy([
    {
      name: "openai",
      import_path: "skein/llm:openai",
      route_prefix: "/",
      args: { models: [{ ...settings, source: tiny, slot_length: 400 }, chat, encoder] },
    },
  ]);
  const scripted = await startScripted();
  const baseUrl = `${await mesh.clientUrl()}/v1`;
  for (const name of programs) failed += (await passes(name, baseUrl, scripted.baseUrl)) ? 0 : 1;
  scripted.close();
} finally {
  await mesh?.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;

async function passes(name: string, baseUrl: string, scripted: string): Promise<boolean> {
  const program = name.endsWith(".py")
    ? join(folder, "venv/bin/python")
    : name.endsWith(".sh")
      ? "bash"
      : process.execPath;
  const env = {
    ...process.env,
    OPENAI_BASE_URL: baseUrl,
    OPENAI_API_KEY: "any",
    SCRIPTED_BASE_URL: scripted,
    LANGSMITH_TRACING: "false",
  };
  try {
    const { stdout } = await run(program, [join(folder, name)], { cwd: folder, env, timeout: WITHIN_MS });
    console.log(`${name}: ok\n${stdout.trimEnd().replace(/^/gm, "  ")}`);
    return true;
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    console.log(`${name}: FAILED\n${`${stdout}${stderr}` || String(error)}`);
    return false;
  }
}
