/** An application's artefact: bundles and manifest as blobs in a folder, named by SHA-256. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { canonicalJson, manifestSchema, sha256Hex, type Manifest } from "../../../protocol/artefact.ts";
import type { BuildRequest, BuildResult } from "../../../protocol/local.ts";
import { touch } from "../../../protocol/node/blob-folder.ts";
import { isClass } from "../../../serve/deployment.ts";
import { graphEntry, type GraphNode } from "../../../serve/graph.ts";
import { RUNTIME_MODULES } from "../runtime-modules.ts";
import { bundle } from "./bundle.ts";
import { evaluate } from "./evaluate.ts";
import { locate } from "./locate.ts";

const RUNTIME_EXPORTS = Object.fromEntries(
  Object.entries(RUNTIME_MODULES).map(([name, module]) => [name, Object.keys(module)]),
);

/** Locates, bundles, evaluates twice, writes. The runtime must be installed in this process. Throws `INVALID_ARGUMENT` and `NOT_FOUND` with place and advice. */
export async function buildApplication(request: BuildRequest): Promise<BuildResult> {
  const appDir = resolve(request.appDir);
  const located = locate(appDir, request.importPath, RUNTIME_EXPORTS);
  const bundles = await bundle(appDir, located.entry, RUNTIME_EXPORTS);
  const graph = await evaluate(appDir, located, bundles.node, request.args);
  const entries = request.grpcServicers ?? [];
  // Loaded only for those who serve gRPC: the parser costs more than a small build.
  const grpc =
    entries.length === 0
      ? null
      : await (await import("./servicers.ts")).readServicers(appDir, entries, RUNTIME_EXPORTS);

  const blobs: string[] = [];
  const keep = async (bytes: Uint8Array | string): Promise<string> => {
    const hash = await sha256Hex(bytes);
    write(request.blobs, hash, bytes);
    blobs.push(hash);
    return hash;
  };
  const usesEngine = engineUsers(graph.nodes, bundles.importsModels);
  const manifest: Manifest = manifestSchema.parse({
    schema: 1,
    importPath: request.importPath,
    args: request.args,
    export: located.exportName,
    bundles: {
      node: await keep(bundles.node),
      browser: bundles.browser === null ? null : await keep(bundles.browser),
      ...(bundles.browserReason === undefined ? {} : { browserReason: bundles.browserReason }),
    },
    assets: {},
    ...(grpc === null || grpc.services.length === 0
      ? {}
      : { grpc: { services: [...grpc.services], descriptors: grpc.descriptors } }),
    graph: {
      hash: graph.hash,
      ingress: graph.ingress,
      deployments: graph.nodes.map((node) => graphEntry(node, usesEngine(node))),
    },
  } satisfies Manifest);
  const artefact = await keep(canonicalJson(manifest));
  return {
    artefact,
    manifest,
    blobs,
    inputs: [...bundles.inputs, ...(grpc?.inputs ?? [])],
    grpcMissing: grpc?.missing ?? [],
  };
}

/** Which deployments load models: those whose code names LanguageModel; where none does although the application imports it, all may. */
function engineUsers(nodes: readonly GraphNode[], importsModels: boolean): (node: GraphNode) => boolean {
  if (!importsModels) return () => false;
  const named = (node: GraphNode): boolean =>
    (isClass(node.target) || typeof node.target === "function") &&
    /\bLanguageModel\d*\b/.test(Function.prototype.toString.call(node.target));
  return nodes.some(named) ? named : () => true;
}

/** Whole or not at all: others may read the folder. */
function write(folder: string, hash: string, bytes: Uint8Array | string): void {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, hash);
  if (existsSync(path)) return touch(path, Date.now());
  const partial = `${path}.partial-${process.pid}`;
  writeFileSync(partial, bytes);
  renameSync(partial, path);
}
