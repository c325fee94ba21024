/**
 * The checkers, as tests: compiler, linter, formatter, and the search for what nobody uses. Each must also find a planted
 * violation: a checker that reads nothing is always content (TypeScript 7 has no JavaScript API, and tools that need one say nothing).
 */
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tool = (path: string) => join(root, "node_modules", path);
const CLEAN = { exitCode: 0, output: "" };
const outputMax = 4_000;

interface Checker {
  readonly program: string;
  readonly args: readonly string[];
  readonly planted: Readonly<Record<string, string>>;
  /** What the checker must say of the planted tree. */
  readonly finds: readonly RegExp[];
}

const tsconfig = `{ "extends": "./base.json", "include": ["*.ts"], "compilerOptions": { "types": [] } }`;
const CHECKERS: Readonly<Record<string, Checker>> = {
  tsc: {
    program: tool("typescript/bin/tsc"),
    args: ["-p", ".", "--pretty", "false"],
    planted: {
      "tsconfig.json": tsconfig,
      "a.ts": `const list: number[] = []; export const first: number = list[0];\nexport enum E { A }\n`,
    },
    finds: [/a\.ts\(1,.*TS2322/, /a\.ts\(2,.*TS1294/],
  },
  "tsc, as a user has it": {
    program: tool("typescript/bin/tsc"),
    args: ["-p", "examples", "--pretty", "false"],
    planted: {
      "examples/tsconfig.json": `{ "extends": "../base.json", "include": ["."], "compilerOptions": { "types": [] } }`,
      "examples/a.ts": `export const a: number = "b";\n`,
    },
    finds: [/a\.ts\(1,.*TS2322/],
  },
  oxlint: {
    program: tool("oxlint/bin/oxlint"),
    args: ["--format=unix"],
    planted: {
      "tsconfig.json": tsconfig,
      "a.ts":
        `export async function f(): Promise<void> {}\nf();\nexport const a = JSON.parse("1") as any;\n` +
        `export function g(x: "a" | "b"): void { switch (x) { case "a": break; } }\n`,
    },
    finds: [/a\.ts:2:.*no-floating-promises/, /a\.ts:3:.*no-explicit-any/, /a\.ts:4:.*switch-exhaustiveness-check/],
  },
  oxfmt: {
    program: tool("oxfmt/bin/oxfmt"),
    args: ["--check"],
    planted: { "a.ts": `export const a = 'b'\n` },
    finds: [/a\.ts/],
  },
  knip: {
    program: tool("knip/bin/knip.js"),
    args: ["--no-progress", "--no-config-hints"],
    planted: {
      "package.json": `{ "name": "planted", "type": "module", "dependencies": { "zod": "1" } }`,
      "main.ts": `import { a } from "./used.ts";\nconsole.log(a);\n`,
      "used.ts": `export const a = 1;\nexport const unused = 2;\n`,
      "alone.ts": `export const b = 1;\n`,
    },
    finds: [/alone\.ts/, /unused/, /zod/],
  },
};
const CONFIGURATION = {
  "tsconfig.json": "base.json",
  ".oxlintrc.json": ".oxlintrc.json",
  ".oxfmtrc.json": ".oxfmtrc.json",
  "knip.json": "knip.json",
};

describe.for(Object.entries(CHECKERS))("%s", ([, { program, args, planted, finds }]) => {
  test("has nothing to say of this repository", async () => {
    const { exitCode, output } = await run(program, args, root);
    expect(exitCode === 0 ? CLEAN : { exitCode, output }).toEqual(CLEAN);
  });

  test("finds what is planted", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skein-checks-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    for (const [from, to] of Object.entries(CONFIGURATION)) copyFileSync(join(root, from), join(folder, to));
    for (const [name, text] of Object.entries(planted)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    const { exitCode, output } = await run(program, args, folder);
    expect(exitCode).not.toBe(0);
    for (const finding of finds) expect(output).toMatch(finding);
  });
});

/** The linter looks for its type-aware half on the path, where npm puts it and a bare `node setup.mjs` doesn't. */
const PATH = [tool(".bin"), process.env["PATH"]].join(delimiter);

function run(program: string, args: readonly string[], cwd: string): Promise<{ exitCode: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, ...args],
      { cwd, env: { ...process.env, PATH, NO_COLOR: "1" } },
      (error, stdout, stderr) => {
        const exitCode = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
        resolve({ exitCode, output: (stdout + stderr).slice(0, outputMax) });
      },
    );
  });
}
