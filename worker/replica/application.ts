/** From bundle to constructed deployment: evaluates the bind graph, checks that it is the one that was built, constructs the own node. */
import type { ReplicaOptions } from "../../protocol/local.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { splitId, type ReplicaId } from "../../protocol/ids.ts";
import type { ReplicaContext } from "../../serve/context.ts";
import { applicationOf, graphOf, placeHandles } from "../../serve/graph.ts";
import { makeHandle, type Caller } from "../../serve/handle.ts";
import { Instance } from "../../serve/instance.ts";
import type { ReplicaPlatform } from "./platform.ts";

/** Rejects with what user code throws, `INVALID_ARGUMENT` (NONDETERMINISTIC_GRAPH) when the code gives another graph than at build time. */
export async function constructDeployment(
  platform: ReplicaPlatform,
  { bundle, manifest, spec }: ReplicaOptions,
  caller: Caller,
): Promise<Instance> {
  const exports = await platform.importBundle(bundle);
  const graph = await graphOf(await applicationOf(exports[manifest.export], manifest.args));
  if (graph.hash !== manifest.graph.hash)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `NONDETERMINISTIC_GRAPH: '${manifest.importPath}' gives another application here than when it was built. Names, options and bound arguments must not depend on time, chance, environment or machine.`,
    );
  const node = graph.nodes.find((n) => n.name === spec.deployment);
  if (node === undefined) throw new SkeinError("NOT_FOUND", `The application has no deployment '${spec.deployment}'.`);
  const args = placeHandles(node.args, (deployment) => makeHandle(caller, { app: spec.app, deployment }));
  return new Instance(node.name, node.target, args);
}

/** What user code may know of its replica. */
export function replicaContext({ spec, worker }: ReplicaOptions): ReplicaContext {
  const { app, deployment } = splitId(spec.replica as ReplicaId);
  return {
    appName: app,
    deployment,
    replicaId: spec.replica,
    workerId: worker.id,
    hostId: worker.host,
    rank: spec.rank,
    routePrefix: spec.routePrefix,
    kind: worker.kind,
  };
}
