/** Sizes of files, names of things, and whether documents name files that exist. */
import { dirname, posix } from "node:path";
import { isNode, type SourceTree, walk } from "./source-tree.ts";

/** Lines beyond which a file wants splitting. */
export const LINES_MAX = 400;

/** Longer files, each with the reason why splitting would hurt. */
export const LONG_FILES: Readonly<Record<string, string>> = {};

export function longFiles(
  { sources }: SourceTree,
  exceptions: Readonly<Record<string, string>> = LONG_FILES,
): string[] {
  return sources
    .filter(({ path, lines }) => lines > LINES_MAX && !(path in exceptions))
    .map(({ path, lines }) => `${path}: ${lines} lines, more than ${LINES_MAX}: one idea a file`);
}

/** Exceptions that are no longer needed. */
export function needlessExceptions(
  { sources }: SourceTree,
  exceptions: Readonly<Record<string, string>> = LONG_FILES,
): string[] {
  const long = new Set(sources.filter(({ lines }) => lines > LINES_MAX).map(({ path }) => path));
  return Object.keys(exceptions)
    .filter((path) => !long.has(path))
    .map((path) => `${path}: needs no exception for its length`);
}

/** Words that name a drawer instead of an idea. */
const BANNED = /^(utils?|helpers?|managers?|common)$/;
const DECLARATIONS =
  /^(FunctionDeclaration|ClassDeclaration|TSInterfaceDeclaration|TSTypeAliasDeclaration|VariableDeclarator)$/;

/** Files, folders and declared names that contain a banned word. */
export function bannedNames({ sources }: SourceTree): string[] {
  return sources.flatMap(({ path, program, lineOf }) => {
    const found = path
      .split("/")
      .filter((part) => wordsOf(part).some((word) => BANNED.test(word)))
      .map((part) => `${path}: "${part}" names no idea`);
    walk(program, (node) => {
      const name = DECLARATIONS.test(node.type) && isNode(node["id"]) ? node["id"]["name"] : undefined;
      if (typeof name !== "string" || !wordsOf(name).some((word) => BANNED.test(word))) return;
      found.push(`${path}:${lineOf(node.start)}: "${name}" names no idea`);
    });
    return found;
  });
}

function wordsOf(name: string): string[] {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
}

/** What a document may point at: everything below these folders, and files of the root by their extension. */
const OURS = /^(protocol|serve|engine|llm|coordinator|ingress|worker|web|cli|test|bench|examples|docs|\.ci)\//;
const ROOT_FILE = /^[\w.-]+\.(md|mjs|json|ts)$/;

/** Paths in backticks and relative links in Markdown that don't exist. Patterns and placeholders (`*`, `<...>`) aren't paths. */
export function missingPaths(tree: SourceTree): string[] {
  return tree.documents.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index) => {
      const quoted = [...line.matchAll(/`([^`\s]+)`/g)]
        .map((match) => match[1]!.replace(/(:\d+|:\w+)$/, "").replace(/^\.\//, ""))
        .filter((name) => OURS.test(name) && /^[\w./@-]+$/.test(name));
      const linked = [...line.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
        .map((match) => match[1]!)
        .filter((name) => !/^[a-z]+:/i.test(name) && !name.startsWith("/"))
        .map((name) => posix.join(dirname(path), name))
        .filter((name) => OURS.test(name) || ROOT_FILE.test(name));
      return [...new Set([...quoted, ...linked])]
        .filter((name) => !tree.has(name))
        .map((name) => `${path}:${index + 1}: there is no ${name}`);
    }),
  );
}
