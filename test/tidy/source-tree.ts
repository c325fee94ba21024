/**
 * Reads a repository's own source files into syntax trees, for the rules of the tidy test. Knows files and imports; judges nothing.
 * TypeScript 7 has no JavaScript API, so the parser is oxc's, through vite.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, sep } from "node:path";
import { parseSync } from "vite";

/** Any node of the syntax tree (ESTree with TypeScript's additions): rules look only at what they know. */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** Path from the root when the specifier is relative; undefined for packages and built-in modules. */
  readonly target: string | undefined;
  /** Whether it vanishes when types are stripped. */
  readonly typeOnly: boolean;
}

export interface SourceFile {
  /** From the root, with `/`. */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  readonly program: Node;
  readonly lineOf: (position: number) => number;
}

export interface SourceTree {
  readonly root: string;
  readonly sources: readonly SourceFile[];
  /** Markdown files as text. */
  readonly documents: readonly { readonly path: string; readonly text: string }[];
  readonly has: (path: string) => boolean;
}

const IGNORED = new Set(["node_modules", "dist", "fixtures"]);

/** Reads all TypeScript and Markdown below `root`. Throws on a file that does not parse. */
export function readTree(root: string): SourceTree {
  const paths = filesBelow(root, "");
  const read = (path: string) => readFileSync(join(root, path), "utf8");
  return {
    root,
    sources: paths
      .filter((path) => /\.(ts|tsx)$/.test(path) && !path.endsWith(".d.ts"))
      .map((path) => parse(path, read(path))),
    documents: paths.filter((path) => path.endsWith(".md")).map((path) => ({ path, text: read(path) })),
    has: (path) => existsSync(join(root, path)),
  };
}

function filesBelow(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith(".") || IGNORED.has(entry.name)) return [];
    const path = posix.join(folder.split(sep).join("/"), entry.name);
    return entry.isDirectory() ? filesBelow(root, path) : [path];
  });
}

function parse(path: string, text: string): SourceFile {
  const { program, errors } = parseSync(path, text);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
  const starts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
  const lineOf = (position: number) => starts.findLastIndex((start) => start <= position) + 1;
  const tree = program as unknown as Node;
  return {
    path,
    lines: starts.length - (text.endsWith("\n") ? 1 : 0),
    imports: importsOf(tree).map(({ specifier, start, typeOnly }) => ({
      specifier,
      typeOnly,
      line: lineOf(start),
      target: specifier.startsWith(".") ? posix.join(dirname(path), specifier) : undefined,
    })),
    program: tree,
    lineOf,
  };
}

/** `import`, `export ... from`, `import()` and `import("...")` in types, whatever they import. */
function importsOf(program: Node): { specifier: string; start: number; typeOnly: boolean }[] {
  const found: { specifier: string; start: number; typeOnly: boolean }[] = [];
  walk(program, (node) => {
    const source = node.type === "TSImportType" ? (node["source"] ?? node["argument"]) : node["source"];
    if (!/^(Import|Export|TSImportType)/.test(node.type) || !isNode(source)) return;
    const literal = isNode(source["literal"]) ? source["literal"] : source;
    if (typeof literal["value"] !== "string") return;
    const typeOnly = node.type === "TSImportType" || (node["importKind"] ?? node["exportKind"]) === "type";
    found.push({ specifier: literal["value"], start: node.start, typeOnly });
  });
  return found;
}

/** Calls `visit` for `node` and all nodes below it, parents first. */
export function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? (value as unknown[]) : [value]) if (isNode(child)) walk(child, visit);
  }
}

export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}
