/** The builder as a child process, on folders without package.json or node_modules. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { sha256Hex } from "../../../protocol/artefact.ts";
import type { BuildRequest, BuildResult } from "../../../protocol/local.ts";
import { childReady, spawnChild } from "../../../protocol/node/parent.ts";

const BUILDER = new URL("../../../worker/node/builder/main.ts", import.meta.url);
const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

function folder(files: Record<string, string>): string {
  const made = mkdtempSync(join(tmpdir(), "skein-builder-test-"));
  folders.push(made);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(made, name)), { recursive: true });
    writeFileSync(join(made, name), text);
  }
  return made;
}

async function build(
  appDir: string,
  importPath: string,
  args: Record<string, unknown> = {},
): Promise<BuildResult & { readonly store: string }> {
  const store = folder({});
  const child = spawnChild(BUILDER, { output: "ignore" });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  try {
    return {
      ...(await childReady<BuildRequest, BuildResult>(child, { appDir, importPath, args, blobs: store })),
      store,
    };
  } finally {
    await exited;
  }
}
const failure = async (appDir: string, importPath: string, args = {}) =>
  build(appDir, importPath, args).then(
    () => "it was built",
    (error: { message: string; exit: number }) => `${error.exit} ${error.message}`,
  );

const LLM = readFileSync(fileURLToPath(new URL("../../../examples/llm.ts", import.meta.url)), "utf8");

test("the textbook's file becomes a manifest, two bundles and nothing else, the same every time", async () => {
  const appDir = folder({ "llm.ts": LLM });
  const built = await build(appDir, "llm:chat");
  expect(built.manifest).toMatchObject({
    importPath: "llm:chat",
    export: "chat",
    args: {},
    graph: {
      ingress: "LLM",
      deployments: [
        {
          name: "LLM",
          options: { ray_actor_options: { num_cpus: 1, num_gpus: "auto" } },
          callees: [],
          reconfigurable: false,
          usesEngine: true,
        },
      ],
    },
  });
  expect(readdirSync(built.store).sort()).toEqual([...new Set(built.blobs)].sort());
  for (const name of built.blobs) expect(await sha256Hex(readFileSync(join(built.store, name)))).toBe(name);
  expect(built.inputs).toEqual([join(appDir, "llm.ts")]);
  const text = readFileSync(join(built.store, built.manifest.bundles.browser!), "utf8");
  expect(text).not.toMatch(/from\s*"node:/);
  expect((await build(folder({ "llm.ts": LLM }), "llm:chat")).artefact).toBe(built.artefact);
});

test("modules in folders, files by path, builders with arguments, decorators, several files", async () => {
  const appDir = folder({
    "sub/module.ts": `
      import { deployment } from "skein";
      import { tag } from "../tag.ts";
      @deployment({ numReplicas: 2, userConfig: { a: 1 } })
      class Api { reconfigure() {} fetch() { return tag; } }
      class Leaf { constructor(readonly = 1) {} }
      export default deployment(Leaf).bind();
      export const build = ({ n }: { n: number }) => deployment(Api, { maxOngoingRequests: n }).bind();`,
    "tag.ts": `import { readFileSync } from "node:fs"; export const tag = typeof readFileSync;`,
  });
  const built = await build(appDir, "sub.module:build", { n: 7 });
  expect(built.manifest.graph.deployments).toEqual([
    {
      name: "Api",
      options: { num_replicas: 2, user_config: { a: 1 }, max_ongoing_requests: 7 },
      callees: [],
      reconfigurable: true,
      usesEngine: false,
    },
  ]);
  expect(built.manifest.bundles).toMatchObject({
    browser: null,
    browserReason: expect.stringMatching(/tag\.ts:1:\d+: It imports "node:fs", which browsers don't have\./),
  });
  expect(built.inputs.map((i) => i.slice(appDir.length + 1)).sort()).toEqual(["sub/module.ts", "tag.ts"]);
  for (const path of ["./sub/module:default", "sub.module.default", "sub/module.ts:default"])
    expect((await build(appDir, path)).manifest.graph.ingress).toBe("Leaf");
});

test("a bundle imported natively sees the runtime's SDK, from any folder", async () => {
  const built = await build(
    folder({
      "app.ts": `import { deployment, Application } from "skein"; export const app = deployment({ fetch: () => 1 }, { name: "x" }).bind(); export const same = app instanceof Application;`,
    }),
    "app:app",
  );
  const where = folder({});
  const script = `
    import { installRuntime } from ${JSON.stringify(new URL("../../../worker/node/runtime-modules.ts", import.meta.url).href)};
    installRuntime();
    const { copyFileSync } = await import("node:fs");
    copyFileSync(${JSON.stringify(join(built.store, built.manifest.bundles.node))}, "b.mjs");
    console.log((await import(${JSON.stringify(`${where}/b.mjs`)})).same);`;
  writeFileSync(join(where, "run.mjs"), script);
  expect(execFileSync(process.execPath, ["run.mjs"], { cwd: where, encoding: "utf8" })).toBe("true\n");
});

test("what is wrong is told with file, line, column, the line and what to do (C090, C174)", async () => {
  const head = `import { deployment } from "skein";\nclass A { fetch() { return 1; } }\n`;
  const appDir = folder({
    "ok.ts": `${head}export const app = deployment(A).bind();\nexport const notBound = deployment(A);\nexport const two = (a: unknown, b: unknown) => a ?? b;\nexport const number = 3;\nexport { A };\nexport const wrong = () => "no";`,
    "syntax.ts": `${head}export const app = deployment(A).bind(;\n`,
    "missing.ts": `import { x } from "not-installed-anywhere";\n${head}export const app = deployment(A).bind(x);`,
    "relative.ts": `import "./nowhere.ts";\n`,
    "raises.ts": `${head}\nfunction load(): never {\n  throw new TypeError("cannot import the thing");\n}\nload();\nexport const app = deployment(A).bind();`,
    "option.ts": `${head}export const app = deployment(A, { numReplica: 2 } as never).bind();`,
    "chance.ts": `${head}class B { constructor(x: number) {} }\nexport const app = deployment(B).bind(Math.random());`,
    "dynamic.ts": `${head}const name = ["a"].join();\nexport const load = () => import(name);\nexport const app = deployment(A).bind();`,
    "sdk.ts": `import { deploymnt } from "skein";\nexport const app = deploymnt;`,
    "addon.ts": `import addon from "./addon.node";\nexport const app = addon;`,
    "addon.node": "",
    "subpath.ts": `import "skein/nope";`,
  });
  const cases: [string, string | RegExp, Record<string, unknown>?][] = [
    [
      "nowhere:app",
      new RegExp(
        `^4 No module named 'nowhere' in ${appDir} \\(looked for nowhere\\.ts, nowhere\\.mts, .*--app-dir\\.$`,
      ),
    ],
    ["ok:nope", "4 Module 'ok' has no export 'nope'. It exports: A, app, notBound, number, two, wrong."],
    [
      "ok:notBound",
      "3 ok.ts: export 'notBound': Expected a built Skein application or an application builder function but got: a Deployment ('A'); call .bind() on it.",
    ],
    ["ok:A", /but got: the class 'A'; write deployment\(A\)\.bind\(\)\.$/],
    ["ok:number", /but got: number\.$/],
    ["ok:two", /exactly one parameter/],
    ["ok:wrong", /must return an `Application` .* but got: string\.$/],
    ["ok:app", /Arguments can only be passed to an application builder function/, { a: 1 }],
    ["ok", /^3 Got invalid import path "ok"/],
    [
      "syntax:app",
      /^3 syntax\.ts:3:39: Unexpected ";"\n {2}3 \| export const app = deployment\(A\)\.bind\(;\n {4}\| {39}\^/,
    ],
    [
      "missing:app",
      /^3 missing\.ts:1:19: Cannot find module "not-installed-anywhere"\.\n.*\n.*\^+\nInstall it where the application is: npm install not-installed-anywhere$/,
    ],
    ["relative:app", /^3 relative\.ts:1:8: Cannot find module "\.\/nowhere\.ts"\.\n.*\n.*\nCheck the path/],
    [
      "raises:app",
      /^3 raises\.ts:5:\d+: TypeError: cannot import the thing \(thrown while it was imported\)\n {2}5 \| {3}throw new TypeError\("cannot import the thing"\);\n/,
    ],
    ["option:app", /Deployment 'A' has no option 'numReplica'/],
    ["chance:app", /^3 NONDETERMINISTIC_GRAPH: 'chance:app' gives another application each time/],
    ["dynamic:app", /^3 dynamic\.ts:4:\d+: This import\(\) can't be bundled/],
    ["sdk:app", /^3 sdk\.ts:1:10: No matching export in "skein" for import "deploymnt"/],
    ["addon:app", /^3 addon\.ts:1:19: "\.\/addon\.node" is a native add-on\.\n[^]*JavaScript or WebAssembly/],
    [
      "subpath:app",
      /^3 subpath\.ts:1:8: There is no module "skein\/nope"\. Known are "skein", "skein\/llm", "skein\/onnx"\./,
    ],
  ];
  // Two at a time: each is a process.
  const got = new Map<string, string>();
  const queue = [...cases];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      got.set(next[0] + JSON.stringify(next[2] ?? {}), await failure(appDir, next[0], next[2]));
  };
  await Promise.all([work(), work()]);
  for (const [path, expected, args] of cases)
    expect.soft(got.get(path + JSON.stringify(args ?? {})), path).toMatch(expected);
});

test("an application that comes with the runtime is built from any folder, without a file of its own", async () => {
  const appDir = folder({});
  const built = await build(appDir, "skein/llm:openai", { models: "smollm2-135m-instruct,other" });
  expect(built.inputs).toEqual([]);
  expect(built.manifest.graph).toMatchObject({
    ingress: "OpenAI",
    deployments: [
      { name: "smollm2-135m-instruct", options: { retry: "no-output" }, usesEngine: true },
      { name: "other" },
      { name: "OpenAI", callees: ["smollm2-135m-instruct", "other"] },
    ],
  });
  const one = await build(appDir, "skein/llm:openai", { models: "smollm2-135m-instruct" });
  expect(one.manifest.graph).toMatchObject({ ingress: "smollm2-135m-instruct", deployments: [{ callees: [] }] });
  const behind = await build(appDir, "skein/llm:openai", { models: "smollm2-135m-instruct", router: "true" });
  expect(behind.manifest.graph).toMatchObject({ ingress: "OpenAI" });
  expect(await failure(appDir, "skein/llm:openai", { model: "x" })).toMatch(
    /^3 skein\/llm: export 'openai': args\.models.*Expected models=<name>/s,
  );
  const onnx = await build(appDir, "skein/onnx:app", { model: "./x.onnx", task: "raw", max_batch: "8" });
  expect(onnx.manifest.graph).toMatchObject({ deployments: [{ name: "OnnxModel", usesEngine: true }] });
  expect(await failure(appDir, "skein/onnx:app", { model: "./x.onnx", task: "ocr" })).toMatch(
    /^3 skein\/onnx: export 'app': args\.task.*Expected model=<path/s,
  );
  expect(await failure(appDir, "skein/llm:nope")).toMatch(/Module 'skein\/llm' has no export 'nope'/);
  expect(await failure(appDir, "skein/onx:app")).toMatch(/No module named 'skein\/onx'/);
});
