/** The repository's own rules, each with a planted violation that proves that it can fail. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { ambient, staleShells } from "./tidy/ambient.ts";
import { cycles, FOLDERS, wrongArrows } from "./tidy/arrows.ts";
import { bannedNames, longFiles, missingPaths, needlessExceptions } from "./tidy/files.ts";
import { readTree, type SourceTree } from "./tidy/source-tree.ts";

describe("this repository", () => {
  const tree = readTree(dirname(dirname(fileURLToPath(import.meta.url))));

  test("was read, all of it", () => {
    const folders = new Set(tree.sources.map(({ path }) => path.split("/")[0]));
    expect([...folders]).toEqual(expect.arrayContaining(["test", ...Object.keys(FOLDERS).filter(tree.has)]));
    expect(tree.sources.flatMap((file) => file.imports.filter(({ target }) => target && !tree.has(target)))).toEqual(
      [],
    );
  });
  test.for([
    ["imports follow the arrows", wrongArrows],
    ["no file imports itself through others", cycles],
    ["time, chance and environment are arguments", ambient],
    ["the table of shells names files", staleShells],
    ["no file is too long", longFiles],
    ["no exception is needless", needlessExceptions],
    ["names name ideas", bannedNames],
    ["documents name files that exist", missingPaths],
  ] as const)("%s", ([, rule]) => expect(rule(tree)).toEqual([]));
});

describe("planted violations are found", () => {
  test("arrows, by every kind of import", () => {
    const tree = plant({
      "protocol/frame.ts": `import { z } from "zod"; import manifest from "../package.json" with { type: "json" }; export const a = 1;`,
      "protocol/bad.ts": `import ws from "ws"; import type { B } from "../engine/b.ts"; import "node:fs";`,
      "engine/b.ts": `export interface B {}\nexport * from "../protocol/frame.ts";`,
      "worker/agent.ts": `const b = await import("../coordinator/plan.ts"); let a: import("../engine/b.ts").B;`,
      "worker/core.ts": `import { readFileSync } from "node:fs";`,
      "worker/node/files.ts": `import { readFileSync } from "node:fs";`,
      "coordinator/plan.ts": `export { a } from "../protocol/frame.ts"; import "../worker/agent.ts";`,
      "web/page.ts": `import "../worker/node/files.ts"; import "../worker/agent.ts"; // import "../cli/main.ts"`,
      "cli/run.ts": `import "../coordinator/main.ts"; import "../coordinator/plan.ts"; const s = 'import "../ingress/x.ts"';`,
    });
    expect(wrongArrows(tree).map((violation) => violation.split(": ").slice(0, 2).join(" "))).toEqual([
      "cli/run.ts:1 imports ../coordinator/plan.ts",
      "coordinator/plan.ts:1 imports ../worker/agent.ts",
      "engine/b.ts:2 imports ../protocol/frame.ts",
      "protocol/bad.ts:1 imports ws",
      "protocol/bad.ts:1 imports ../engine/b.ts",
      "protocol/bad.ts:1 imports node:fs",
      "web/page.ts:1 imports ../worker/node/files.ts",
      "worker/agent.ts:1 imports ../coordinator/plan.ts",
      "worker/core.ts:1 imports node:fs",
    ]);
  });

  test("cycles", () => {
    const tree = plant({
      "serve/a.ts": `import "./b.ts";`,
      "serve/b.ts": `export * from "./c.ts";`,
      "serve/c.ts": `import { type A } from "./a.ts"; import type { D } from "./d.ts";`,
      "serve/d.ts": `import "zod"; import "./c.ts";`,
    });
    expect(cycles(tree)).toEqual(["serve/a.ts -> serve/b.ts -> serve/c.ts -> serve/a.ts"]);
  });

  test("ambient time, chance and environment, but not their names in text or as methods", () => {
    const tree = plant({
      "coordinator/plan.ts": [
        `export const a = Date.now();`,
        `export const b = new Date();`,
        `export const c = globalThis.performance.now();`,
        `export const d = Math["random"]();`,
        `setTimeout(() => {}, 1); globalThis.setInterval(() => {}, 1);`,
        `export const f = process.env.HOME, g = crypto.randomUUID();`,
        `export const fine = (clock: { setTimeout(f: () => void): void }) => clock.setTimeout(() => "Math.random()");`,
        `export const also = new Date(0); // Date.now()`,
      ].join("\n"),
      "coordinator/main.ts": `Date.now();`,
      "ingress/node/clock.ts": `Date.now();`,
      "ingress/timer.ts": `Date.now();`,
      "test/free.ts": `Date.now();`,
    });
    const shells = { "ingress/timer.ts": "because", "ingress/gone.ts": "because" };
    expect(ambient(tree, shells).map((violation) => violation.replace(/ in a pure file.*/, ""))).toEqual([
      "coordinator/plan.ts:1: Date.now",
      "coordinator/plan.ts:2: new Date()",
      "coordinator/plan.ts:3: performance.now",
      "coordinator/plan.ts:4: Math.random",
      "coordinator/plan.ts:5: setTimeout",
      "coordinator/plan.ts:5: setInterval",
      "coordinator/plan.ts:6: process.env",
      "coordinator/plan.ts:6: crypto.randomUUID",
    ]);
    expect(staleShells(tree, shells)).toEqual([expect.stringContaining("ingress/gone.ts")]);
  });

  test("long files and needless exceptions", () => {
    const lines = (count: number) => "export {};\n".repeat(count);
    const tree = plant({ "serve/long.ts": lines(401), "serve/full.ts": lines(400), "serve/excused.ts": lines(500) });
    const exceptions = { "serve/excused.ts": "a table", "serve/full.ts": "a table" };
    expect(longFiles(tree, exceptions)).toEqual([expect.stringContaining("serve/long.ts: 401 lines")]);
    expect(needlessExceptions(tree, exceptions)).toEqual([expect.stringContaining("serve/full.ts")]);
  });

  test("names that name no idea", () => {
    const tree = plant({
      "serve/string-utils.ts": "export {};",
      "serve/common/x.ts": "export {};",
      "serve/good.ts": `export class StateManager {}\nfunction helperOf() {}\nconst commonly = 1; // utils`,
    });
    expect(bannedNames(tree)).toEqual([
      expect.stringContaining(`serve/common/x.ts: "common"`),
      expect.stringContaining(`serve/good.ts:1: "StateManager"`),
      expect.stringContaining(`serve/good.ts:2: "helperOf"`),
      expect.stringContaining(`serve/string-utils.ts: "string-utils.ts"`),
    ]);
  });

  test("documents that name files which don't exist", () => {
    const tree = plant({
      "serve/a.ts": "export {};",
      "docs/A.md":
        "`serve/a.ts` `serve/b.ts` `serve/*.ts` `skein/llm`\n[a](../serve/a.ts) [c](../serve/c.ts#x) [web](https://a.b/c)",
      "README.md": "`examples/llm.ts:chat` [docs](docs/A.md) [more](docs/B.md)",
    });
    expect(missingPaths(tree)).toEqual([
      "README.md:1: there is no examples/llm.ts",
      "README.md:1: there is no docs/B.md",
      "docs/A.md:1: there is no serve/b.ts",
      "docs/A.md:2: there is no serve/c.ts",
    ]);
  });
});

function plant(files: Readonly<Record<string, string>>): SourceTree {
  const root = mkdtempSync(join(tmpdir(), "skein-tidy-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return readTree(root);
}
