/** Who may import whom: the table of docs/ARCHITECTURE.md, and no cycles. */
import type { SourceFile, SourceTree } from "./source-tree.ts";

interface Folder {
  /** Folders of ours that it may import from, beside itself. */
  readonly ours: readonly string[];
  /** Single files beyond these folders. */
  readonly files?: RegExp;
  /** Packages; undefined when any may be used. */
  readonly packages?: readonly string[];
  /** Files of the folder that run in Node only. The rest also runs in a tab and may not import `node:` modules. */
  readonly nodeOnly?: RegExp;
}

/** Programs of their own and folders named `node` run in Node, wherever they are. */
const NODE_FILES = /(^|\/)(node\/|main\.ts$|[\w-]+-main\.ts$)/;
const EVERYTHING = /./;
/** Any program may read the version it is. */
const MANIFEST = "package.json";

export const FOLDERS: Readonly<Record<string, Folder>> = {
  protocol: { ours: [], packages: ["zod", "msgpackr", "selfsigned"], nodeOnly: NODE_FILES },
  serve: { ours: ["protocol"], nodeOnly: NODE_FILES },
  engine: { ours: [], nodeOnly: EVERYTHING },
  llm: { ours: ["serve", "engine", "protocol"], nodeOnly: NODE_FILES },
  coordinator: { ours: ["protocol"], nodeOnly: EVERYTHING },
  ingress: { ours: ["protocol"], nodeOnly: EVERYTHING },
  worker: {
    ours: ["protocol", "serve", "engine", "llm"],
    nodeOnly: /(^|\/)(node\/|models\/|main\.ts$|[\w-]+-main\.ts$)/,
  },
  web: {
    ours: ["protocol", "worker", "serve", "engine", "llm"],
    nodeOnly: /(^|\/)(vite\.config\.ts|build[\w-]*\.ts)$/,
  },
  // The command starts the other programs, fetches models ahead of them and reads the same data directory; it calls nothing else of theirs.
  // Scripts run in it: it fills in the SDK's registry for them, and shows them the SDK.
  cli: {
    ours: ["protocol"],
    files: /^(\w+\/(.*\/)?(start|main|[\w-]+-main)\.ts|worker\/(node|models)\/[\w-]+\.ts|serve\/(runtime|script)\.ts)$/,
    nodeOnly: EVERYTHING,
  },
};

/** Imports against the table. */
export function wrongArrows({ sources }: SourceTree): string[] {
  return sources.flatMap((file) => {
    const from = folderOf(file.path);
    const rules = FOLDERS[from];
    if (rules === undefined) return [];
    return file.imports.flatMap(({ specifier, target, line }) => {
      const wrong = (why: string) => [`${file.path}:${line}: imports ${specifier}: ${why}`];
      if (target !== undefined) {
        const to = folderOf(target);
        const allowed =
          to === from || target === MANIFEST || rules.ours.includes(to) || rules.files?.test(target) === true;
        if (!allowed) return wrong(`${from}/ may import ${["itself", ...rules.ours].join(", ")}`);
        if (from === "web" && /^worker\/(node|models)\//.test(target))
          return wrong("web/ may import the worker's core, not its Node side");
        return [];
      }
      if (specifier.startsWith("node:")) {
        return rules.nodeOnly?.test(file.path) === true
          ? []
          : wrong("this file also runs in a tab, which has no Node modules");
      }
      const name = specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/");
      return rules.packages === undefined || rules.packages.includes(name)
        ? []
        : wrong(`${from}/ may use ${rules.packages.join(", ")}`);
    });
  });
}

/** Every import that closes a cycle, as the cycle. Type imports don't count: they order nothing when files are loaded. */
export function cycles({ sources }: SourceTree): string[] {
  const files = new Map(sources.map((file) => [file.path, file]));
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (file: SourceFile, trail: readonly string[]): void => {
    if (trail.includes(file.path)) {
      found.push([...trail.slice(trail.indexOf(file.path)), file.path].join(" -> "));
      return;
    }
    if (done.has(file.path)) return;
    for (const { target, typeOnly } of file.imports) {
      const next = target === undefined || typeOnly ? undefined : files.get(target);
      if (next !== undefined) visit(next, [...trail, file.path]);
    }
    done.add(file.path);
  };
  for (const file of sources) visit(file, []);
  return found;
}

function folderOf(path: string): string {
  return path.split("/")[0] ?? "";
}
