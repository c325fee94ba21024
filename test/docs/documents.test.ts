/** Documents say what the code says: generated tables are up to date, links lead somewhere, the README's verbs exist. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { program } from "../../cli/program.ts";
import { parseDeployConfig } from "../../protocol/config.ts";
import { parse } from "yaml";
import { withTables } from "../../docs/tables.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const documents = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
const read = (name: string): string => readFileSync(join(root, name), "utf8");

test.each(["docs/PROTOCOL.md", "docs/CLI.md"])("%s is up to date (else: node docs/generate-main.ts)", (name) => {
  expect(read(name)).toContain("<!-- table: ");
  expect(withTables(read(name))).toBe(read(name));
});

test("a table that is out of date, or unknown, is found", () => {
  const text = "<!-- table: exits -->\nold\n<!-- end -->";
  expect(withTables(text)).toContain("| 130 | interrupted |");
  expect(() => withTables("<!-- table: nothing -->\n<!-- end -->")).toThrow('No table is called "nothing"');
});

test.each(documents)("links of %s lead to files", (name) => {
  const links = [...read(name).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map((match) => match[1] ?? "");
  expect(links.filter((link) => !existsSync(resolve(root, dirname(name), link)))).toEqual([]);
});

test("the README's commands and its YAML are valid", () => {
  const verbs = new Set(program(() => {}).commands.map((command) => command.name()));
  const used = [...read("README.md").matchAll(/^(?:\w+=\S+ )?skein ([a-z][a-z-]*)/gm)].map((match) => match[1] ?? "");
  expect(used.length).toBeGreaterThan(8);
  expect(used.filter((verb) => !verbs.has(verb))).toEqual([]);
  const yaml = /```yaml\n([^]*?)```/.exec(read("README.md"))?.[1] ?? "";
  expect(parseDeployConfig(parse(yaml)).issues).toBeUndefined();
});
