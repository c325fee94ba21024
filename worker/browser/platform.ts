/** The agent's platform in a tab: replicas are dedicated Web Workers, code and models come from the mesh's own origin, no ingress. */
import type { FromReplica } from "../../protocol/local.ts";
import type { AgentPlatform, ChildEvents } from "../agent/platform.ts";
import { TabBundles } from "./bundles.ts";
import { tabClock } from "./clock.ts";
import { connectControl } from "./control-socket.ts";
import { locateAtMesh } from "./models.ts";
import { startReplicaWorker } from "./replica-worker.ts";
import { TabLogs } from "./tab-log.ts";
import type { ReplicaShown } from "./tab.ts";

export interface TabPlace {
  /** Of the mesh port. */
  readonly origin: string;
  /** URL of replica-main.ts's bundle. */
  readonly replicaScript: string;
  keepTicket(ticket: string): void;
  /** The replicas of this tab, whenever something about them changes. */
  onReplicas(replicas: readonly ReplicaShown[]): void;
}

export function tabPlatform(place: TabPlace): AgentPlatform {
  const { origin } = place;
  const bundles = new TabBundles(origin);
  const logs = new TabLogs(tabClock.now);
  const shown = new Map<string, ReplicaShown>();
  const watched = (replica: string, events: ChildEvents<FromReplica>): ChildEvents<FromReplica> => {
    const show = (change: ReplicaShown | null): void => {
      if (change === null) shown.delete(replica);
      else shown.set(replica, change);
      place.onReplicas([...shown.values()]);
    };
    return {
      onMessage(message) {
        if (message.type === "status")
          show({
            replica,
            state: message.state,
            progress: message.progress ?? message.error ?? "",
            ongoing: message.ongoing,
          });
        else if (message.type === "alive") {
          const before = shown.get(replica);
          if (before !== undefined && before.ongoing !== message.ongoing) show({ ...before, ongoing: message.ongoing });
        }
        events.onMessage(message);
      },
      onExit(how) {
        show(null);
        events.onExit(how);
      },
    };
  };
  return {
    ...tabClock,
    connect: connectControl,
    fetchManifest: (artefact, ticket) => bundles.manifest(artefact, ticket),
    fetchBundle: (manifest, ticket) => bundles.url(manifest, ticket),
    locateModel: (name, _provider, ticket, onProgress) => {
      onProgress(`waiting for the mesh to have model ${name}`);
      return locateAtMesh(origin, name, ticket);
    },
    startReplica: (options, events) =>
      startReplicaWorker(place.replicaScript, options, watched(options.spec.replica, events), logs),
    startIngress: null,
    sendLog: (request, ticket) =>
      logs.send(`${origin.replace(/^http/, "ws")}/logs/${encodeURIComponent(request.reader)}`, ticket, request),
    keepTicket: (ticket) => place.keepTicket(ticket),
  };
}
