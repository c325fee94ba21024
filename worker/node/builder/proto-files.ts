/**
 * Reads a .proto file and what it imports into one protobufjs tree. Imports are looked up under the application's folder (then beside the file
 * that imports them) and never leave it; `google/protobuf/*` is built in. Knows text and files, no descriptors.
 */
import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import type { DescFile } from "@bufbuild/protobuf";
import type { DescriptorProto, FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import * as wellKnown from "@bufbuild/protobuf/wkt";
import protobuf from "protobufjs";
import { SkeinError } from "../../../protocol/errors.ts";
import { sourceError } from "./source-error.ts";

/** Files that one service may import, and bytes of one: schemas are small, and user folders are not ours. */
const PROTO_FILES_MAX = 200;
const PROTO_BYTES_MAX = 1024 * 1024;

export interface ProtoFile {
  /** Relative to the application's folder, with forward slashes. */
  readonly name: string;
  readonly package: string;
  readonly syntax: "proto2" | "proto3";
  readonly imports: readonly string[];
  readonly publicImports: readonly string[];
}

export interface ProtoTree {
  readonly root: protobuf.Root;
  /** Imported ones first. */
  readonly files: readonly ProtoFile[];
  /** Descriptors of the built-in files that were imported, imported ones first. */
  readonly builtIn: readonly FileDescriptorProto[];
  /** Absolute paths that were read. */
  readonly inputs: readonly string[];
}

/** By import path. */
const BUILT_IN: ReadonlyMap<string, DescFile> = new Map(
  Object.entries(wellKnown).flatMap(([key, file]) =>
    key.startsWith("file_google_protobuf_") ? [[`${(file as DescFile).name}.proto`, file as DescFile] as const] : [],
  ),
);

/** Throws `INVALID_ARGUMENT` with file, line and advice. `entry` is relative to `appDir`. */
export function readProtoFiles(appDir: string, entries: readonly string[]): ProtoTree {
  const home = realpathSync(appDir);
  const root = new protobuf.Root();
  const files: ProtoFile[] = [];
  const builtIn = new Map<string, FileDescriptorProto>();
  const inputs: string[] = [];
  const begun = new Set<string>();
  for (const entry of entries) read(inside(entry, undefined), undefined);
  try {
    root.resolveAll();
  } catch (error) {
    throw sourceError(
      `${entries.join(", ")}: ${error instanceof Error ? error.message : String(error)}`,
      undefined,
      "Is it misspelt, or an import missing?",
    );
  }
  return { root, files, builtIn: [...builtIn.values()], inputs };

  /** The name of an imported file relative to the application's folder. */
  function inside(name: string, importer: { readonly name: string; readonly text: string } | undefined): string {
    const candidates = [
      resolve(home, name),
      ...(importer === undefined ? [] : [resolve(home, dirname(importer.name), name)]),
    ];
    const path = candidates.find((candidate) => existsSync(candidate) && statSync(candidate).isFile());
    if (path === undefined)
      throw sourceError(
        `Cannot find "${name}".`,
        placeOf(importer, name),
        `Imports are looked up under the application's folder, ${appDir}.`,
      );
    const real = realpathSync(path);
    if (!real.startsWith(home + sep))
      throw sourceError(
        `"${name}" is outside of the application's folder.`,
        placeOf(importer, name),
        `Copy it under ${appDir}.`,
      );
    return relative(home, path).split(sep).join("/");
  }

  function read(name: string, importer: string | undefined): void {
    if (begun.has(name)) return;
    begun.add(name);
    if (begun.size > PROTO_FILES_MAX)
      throw new SkeinError("INVALID_ARGUMENT", `${importer ?? name} imports more than ${PROTO_FILES_MAX} files.`);
    const path = join(home, name);
    if (statSync(path).size > PROTO_BYTES_MAX)
      throw new SkeinError("INVALID_ARGUMENT", `${name} has more than ${PROTO_BYTES_MAX} bytes.`);
    const text = readFileSync(path, "utf8");
    inputs.push(path);
    const bare = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, (comment) => comment.replace(/[^\n]/g, " "));
    const [, keyword, syntax = "proto2"] = /^\s*(syntax|edition)\s*=\s*["']([^"']*)["']/m.exec(bare) ?? [];
    if (keyword === "edition" || (syntax !== "proto2" && syntax !== "proto3"))
      throw sourceError(
        `${name} is written in ${keyword === "edition" ? `edition ${syntax}` : `syntax "${syntax}"`}.`,
        placeOf({ name, text }, syntax),
        'Write syntax = "proto3", or name a generated descriptor: <module>:<export>.',
      );
    const parsed = parse(name, text);
    const imports: string[] = [];
    const publicImports: string[] = [];
    for (const imported of [...(parsed.imports ?? []), ...(parsed.weakImports ?? [])]) {
      const known = BUILT_IN.get(imported);
      const file = known === undefined ? inside(imported, { name, text }) : imported;
      if (known === undefined) read(file, name);
      else addBuiltIn(known);
      imports.push(file);
      if (new RegExp(`import\\s+public\\s+["']${imported.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}["']`).test(bare))
        publicImports.push(file);
    }
    files.push({ name, package: parsed.package ?? "", syntax, imports, publicImports });
  }

  function parse(name: string, text: string): protobuf.IParserResult {
    try {
      // Known to the parser, not to its types.
      Object.assign(protobuf.parse, { filename: name });
      return protobuf.parse(text, root, { keepCase: true });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const [, what = message, line] = /^(.*) \([^)]*, line (\d+)\)$/.exec(message) ?? [];
      if (line === undefined) throw sourceError(`${name}: ${message}`, undefined);
      const shown = text.split("\n")[Number(line) - 1] ?? "";
      throw sourceError(what, {
        file: name,
        line: Number(line),
        column: shown.length - shown.trimStart().length + 1,
        text: shown,
        length: shown.trim().length,
      });
    } finally {
      Object.assign(protobuf.parse, { filename: null });
    }
  }

  /** Built-in types stand in the tree by name and kind only, so that references resolve; their descriptors are ready-made. */
  function addBuiltIn(file: DescFile): void {
    if (builtIn.has(file.proto.name)) return;
    for (const dependency of file.dependencies) addBuiltIn(dependency);
    builtIn.set(file.proto.name, file.proto);
    const namespace = root.define(file.proto.package);
    for (const message of file.proto.messageType)
      if (namespace.get(message.name) === null) namespace.add(stub(message));
    for (const { name } of file.proto.enumType)
      if (namespace.get(name) === null) namespace.add(new protobuf.Enum(name, {}));
  }
}

function stub(message: DescriptorProto): protobuf.Type {
  const type = new protobuf.Type(message.name);
  for (const nested of message.nestedType) type.add(stub(nested));
  for (const { name } of message.enumType) type.add(new protobuf.Enum(name, {}));
  return type;
}

function placeOf(
  file: { readonly name: string; readonly text: string } | undefined,
  word: string,
): Parameters<typeof sourceError>[1] {
  if (file === undefined) return undefined;
  const lines = file.text.split("\n");
  const at = lines.findIndex((line) => line.includes(`"${word}"`) || line.includes(`'${word}'`));
  const text = lines[at] ?? "";
  return at < 0
    ? undefined
    : { file: file.name, line: at + 1, column: text.search(/["']/) + 1, text, length: word.length + 2 };
}
