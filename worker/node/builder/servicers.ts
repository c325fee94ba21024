/**
 * `grpc_servicer_functions`: which services an application serves, and their descriptors. An entry is `<file>.proto:<package.Service>`, the file
 * under the application's folder, or `<module>:<export>`, a descriptor that protoc-gen-es generated (of a service, or of a file with services).
 */
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  create,
  createFileRegistry,
  toBinary,
  type DescFile,
  type DescService,
  type FileRegistry,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, type FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { SkeinError } from "../../../protocol/errors.ts";
import { GRPC_DESCRIPTORS_MAX, GRPC_SERVICES_MAX } from "../../../protocol/limits.ts";
import { bundle, type RuntimeExports } from "./bundle.ts";
import { fileDescriptors } from "./descriptors.ts";
import { locate } from "./locate.ts";
import { readProtoFiles } from "./proto-files.ts";
import { sourceError } from "./source-error.ts";

export interface Servicers {
  readonly services: readonly string[];
  /** base64 FileDescriptorSet. */
  readonly descriptors: string;
  readonly inputs: readonly string[];
  readonly missing: readonly { readonly entry: string; readonly why: string }[];
}

type Found = {
  readonly services: readonly string[];
  readonly files: readonly FileDescriptorProto[];
  readonly inputs: readonly string[];
};

/** Throws `INVALID_ARGUMENT` for a malformed entry, and with file and line for a schema with errors. A file that isn't there is `missing`. */
export async function readServicers(
  appDir: string,
  entries: readonly string[],
  runtime: RuntimeExports,
): Promise<Servicers> {
  if (entries.length > GRPC_SERVICES_MAX)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `grpc_servicer_functions has ${entries.length} entries; the limit is ${GRPC_SERVICES_MAX}.`,
    );
  const services = new Set<string>();
  const files = new Map<string, FileDescriptorProto>();
  const inputs: string[] = [];
  const missing: Servicers["missing"][number][] = [];
  for (const entry of new Set(entries)) {
    const found = await readEntry(appDir, entry, runtime);
    if (typeof found === "string") {
      missing.push({ entry, why: found });
      continue;
    }
    found.services.forEach((service) => services.add(service));
    inputs.push(...found.inputs);
    // Imported files come before those that import them, as protoc writes sets and readers expect them.
    for (const file of found.files) if (!files.has(file.name)) files.set(file.name, file);
  }
  const set = create(FileDescriptorSetSchema, { file: [...files.values()] });
  const registry = registryOf(set.file, entries);
  for (const service of services)
    if (registry.getService(service) === undefined)
      throw new SkeinError("INVALID_ARGUMENT", `grpc_servicer_functions: two entries define ${service} differently.`);
  const descriptors = Buffer.from(toBinary(FileDescriptorSetSchema, set)).toString("base64");
  if (descriptors.length > GRPC_DESCRIPTORS_MAX)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `The descriptors of the gRPC services have ${descriptors.length} characters (base64); the limit is ${GRPC_DESCRIPTORS_MAX}. Import fewer files.`,
    );
  return { services: [...services].sort(), descriptors, inputs, missing };
}

/** What doesn't link would fail in every replica and every client: it fails here. */
function registryOf(files: readonly FileDescriptorProto[], entries: readonly string[]): FileRegistry {
  try {
    return createFileRegistry(create(FileDescriptorSetSchema, { file: [...files] }));
  } catch (error) {
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `The schema of ${entries.join(", ")} is not valid: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** A sentence when there is no such file. */
async function readEntry(appDir: string, entry: string, runtime: RuntimeExports): Promise<Found | string> {
  const colon = entry.lastIndexOf(":");
  const [file, name] = [entry.slice(0, colon), entry.slice(colon + 1)];
  if (colon < 1 || name === "")
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `grpc_servicer_functions: "${entry}" names no service. Expected "<file>.proto:<package.Service>", such as "chat.proto:example.Chat", or "<module>:<export>" of a generated descriptor.`,
    );
  return file.endsWith(".proto") ? fromProto(appDir, file, name) : fromModule(appDir, entry, runtime);
}

function fromProto(appDir: string, file: string, service: string): Found | string {
  if (!existsSync(resolve(appDir, file))) return `There is no file ${file} in ${appDir}.`;
  const tree = readProtoFiles(appDir, [file]);
  const files = fileDescriptors(tree);
  const own = files.at(-1)!;
  const names = own.service.map((s) => (own.package === "" ? s.name : `${own.package}.${s.name}`));
  if (!names.includes(service))
    throw sourceError(
      `grpc_servicer_functions: ${file} has no service "${service}".`,
      undefined,
      names.length === 0 ? "It defines no service." : `It defines ${names.join(", ")}.`,
    );
  return { services: [service], files, inputs: tree.inputs };
}

async function fromModule(appDir: string, entry: string, runtime: RuntimeExports): Promise<Found | string> {
  let located: ReturnType<typeof locate>;
  try {
    located = locate(appDir, entry);
  } catch (error) {
    if (error instanceof SkeinError && error.code === "NOT_FOUND") return error.message;
    throw error;
  }
  const bundles = await bundle(appDir, located.entry, runtime);
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-descriptor-")));
  try {
    const path = join(folder, "bundle.mjs");
    writeFileSync(path, bundles.node);
    const exported = ((await import(pathToFileURL(path).href)) as Record<string, unknown>)[located.exportName];
    const described = exported as Partial<DescFile | DescService> | null | undefined;
    const file =
      described?.kind === "file"
        ? (described as DescFile)
        : described?.kind === "service"
          ? (described as DescService).file
          : undefined;
    const services =
      described?.kind === "service"
        ? [(described as DescService).typeName]
        : (file?.services.map((s) => s.typeName) ?? []);
    if (file === undefined || services.length === 0)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `grpc_servicer_functions: ${entry} is not a service or a file with services as protoc-gen-es generates them.`,
      );
    return { services, files: withDependencies(file), inputs: bundles.inputs };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A file's descriptor behind those of what it imports. */
function withDependencies(file: DescFile, into: Map<string, FileDescriptorProto> = new Map()): FileDescriptorProto[] {
  for (const dependency of file.dependencies) withDependencies(dependency, into);
  into.set(file.proto.name, file.proto);
  return [...into.values()];
}
