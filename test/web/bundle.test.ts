/** The worker page's scripts: that they are built once, that nothing in them needs Node, and that this test would see it if it did. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { builtinModules } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Metafile } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildWorkerPage, bundle } from "../../web/build.ts";

/** Imports of Node's modules that are left in the output, and files of the Node side that went into it. */
function nodeIn({ outputs, inputs }: Metafile): string[] {
  const left = Object.values(outputs)
    .flatMap((output) => output.imports)
    .map(({ path }) => path)
    .filter((path) => path.startsWith("node:") || builtinModules.includes(path));
  const ours = Object.keys(inputs).filter((path) => /(^|\/)node\//.test(path) && !path.includes("node_modules/"));
  return [...left, ...ours];
}

describe("the worker page", () => {
  let out = "";
  beforeAll(() => {
    out = mkdtempSync(join(tmpdir(), "skein-page-"));
  });
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  test("has no import of Node's modules, nor of any other file", async () => {
    const metafile = await bundle(join(out, "scripts"));
    expect(nodeIn(metafile)).toEqual([]);
    const external = Object.values(metafile.outputs).flatMap((o) =>
      o.imports.filter((i) => i.external).map((i) => i.path),
    );
    expect(external).toEqual([]);
    expect(
      Object.keys(metafile.outputs)
        .map((path) => path.split("/").at(-1))
        .toSorted((a, b) => (a! < b! ? -1 : 1)),
    ).toEqual(["agent.js", "engine.js", "grammar-check.js", "page.js", "replica.js", "team.js"]);
    for (const name of ["agent", "engine", "grammar-check", "page", "replica", "team"])
      expect(readFileSync(join(out, "scripts", `${name}.js`), "utf8")).not.toMatch(
        /\b(from|import|require)\s*\(?\s*["']node:/,
      );
  });

  test("would be found out if it imported one", async () => {
    const planted = join(out, "planted.ts");
    writeFileSync(planted, `import { readFileSync } from "node:fs";\nconsole.log(readFileSync);\n`);
    const refused = await bundle(join(out, "refused"), { planted }).catch((error: Error) => error.message);
    expect(refused).toMatch(/Could not resolve "node:fs"/);
    const left: Metafile = {
      inputs: { "worker/node/x.ts": { bytes: 1, imports: [] } },
      outputs: {
        a: { bytes: 1, inputs: {}, exports: [], imports: [{ path: "fs", kind: "import-statement", external: true }] },
      },
    };
    expect(nodeIn(left)).toEqual(["fs", "worker/node/x.ts"]);
  });

  test("is built when there is none of these sources, and found again; old ones are forgotten", async () => {
    const pages = join(out, "pages");
    const old = ["a", "b", "c", "d"].map((letter) => letter.repeat(16));
    for (const [index, before] of old.entries()) {
      mkdirSync(join(pages, before), { recursive: true });
      utimesSync(join(pages, before), 1e6 + index, 1e6 + index);
    }
    const folder = await buildWorkerPage(1e12, pages);
    const name = folder.split("/").at(-1)!;
    expect(readdirSync(folder).toSorted()).toEqual([name, "index.html"].toSorted());
    expect(readFileSync(join(folder, "index.html"), "utf8")).toContain(`src="/join/${name}/page.js"`);
    expect(readdirSync(join(folder, name, "ort"))).toContain("ort-wasm-simd-threaded.jspi.wasm");
    expect(readFileSync(join(folder, name, "engine.js"), "utf8")).not.toContain("GetNextTokenBitmask");
    expect(readFileSync(join(folder, name, "xgrammar.js"), "utf8")).toContain("GetNextTokenBitmask");
    const made = statSync(join(folder, name, "agent.js")).mtimeMs;
    expect(await buildWorkerPage(2e12, pages)).toBe(folder);
    expect(statSync(join(folder, name, "agent.js")).mtimeMs).toBe(made);
    expect(statSync(folder).mtimeMs).toBe(2e12);
    expect(readdirSync(pages).toSorted()).toEqual([name, ...old.slice(2)].toSorted());
  });
});
