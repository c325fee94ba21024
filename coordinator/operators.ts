/** Events of operators: what should run. Changes `desired` and resets the story of deployments that changed. Pure. */
import { canonicalJson } from "../protocol/artefact.ts";
import { deploymentId, type AppName } from "../protocol/ids.ts";
import type { DeployedApp, OperatorEvent } from "./events.ts";
import type { DeploymentState, DesiredApp, DesiredState, State, Target } from "./state.ts";
import { TargetError, resolveTarget } from "./target.ts";

export function reduceOperator(state: State, event: OperatorEvent): State {
  switch (event.type) {
    case "deployed":
      return deployed(state, event);
    case "built":
      return withBuild(state, event.app, event.generation, (app) => aim(app, event.artefact, event.manifest));
    case "buildFailed":
      return withBuild(state, event.app, event.generation, (app) => ({
        ...app,
        build: { state: "failed", message: event.message },
      }));
    case "deleteRequested": {
      const apps = mapApps(state.desired, (app) =>
        event.apps === "all" || event.apps.includes(app.name) ? { ...app, deleting: true } : app,
      );
      // Everything is taken away: listeners close, and the next deploy may choose them anew, as in Ray after a shutdown.
      const old = state.desired.options;
      const options =
        event.apps === "all"
          ? {
              ...old,
              http: old.pinned ? old.http : null,
              grpc: old.pinned ? old.grpc : null,
              targetCapacity: null,
              warnings: [],
            }
          : old;
      return { ...state, desired: { ...state.desired, apps, options } };
    }
    case "scaled": {
      const app = state.desired.apps[event.app];
      const deployment = app?.target?.deployments[event.deployment];
      if (app?.target == null || deployment === undefined) return state;
      const deployments = { ...app.target.deployments, [event.deployment]: { ...deployment, scaled: event.replicas } };
      return withApp(state, { ...app, target: { ...app.target, deployments } });
    }
    case "apiKeyCreated": {
      const { app } = event.key;
      return withApiKeys(state, (keys) => ({ ...keys, [app]: [...(keys[app] ?? []), event.key] }));
    }
    case "apiKeyRevoked":
      return withApiKeys(state, (keys) =>
        Object.fromEntries(Object.entries(keys).map(([app, list]) => [app, list.filter((k) => k.id !== event.id)])),
      );
    case "applicationOpened":
      return withApiKeys(state, ({ [event.app]: _dropped, ...others }) => others);
  }
}

function deployed(state: State, event: Extract<OperatorEvent, { type: "deployed" }>): State {
  const generation = state.desired.generation + 1;
  const old = state.desired.options;
  // What clients listen on is chosen once; a later wish is answered with a warning (api/).
  const first = old.http === null || old.grpc === null;
  const kept = {
    ...old,
    http: old.http ?? event.options.http,
    grpc: old.grpc ?? event.options.grpc,
    proxyLocation: first ? event.options.proxyLocation : old.proxyLocation,
  };
  const options =
    event.source === "declarative"
      ? {
          ...kept,
          loggingConfig: event.options.loggingConfig,
          targetCapacity: event.options.targetCapacity,
          warnings: event.warnings,
        }
      : kept;
  const listed = new Set<string>(event.apps.map((a) => a.config.name));
  const apps =
    event.source === "declarative"
      ? mapApps(state.desired, (app) =>
          app.source === "declarative" && !listed.has(app.name) ? { ...app, deleting: true } : app,
        )
      : state.desired.apps;
  let next: State = { ...state, desired: { ...state.desired, generation, options, apps } };
  for (const app of event.apps) next = deployedApp(next, app, event.source, generation, event.nowMs);
  return next;
}

function deployedApp(
  state: State,
  deployed: DeployedApp,
  source: DesiredApp["source"],
  generation: number,
  nowMs: number,
): State {
  const name = deployed.config.name as AppName;
  const before = state.desired.apps[name];
  const app: DesiredApp = {
    name,
    source,
    generation,
    deployedAtMs: nowMs,
    config: deployed.config,
    submitted: deployed.submitted,
    build: { state: "pending", quiet: false },
    target: before?.target ?? null,
    deleting: false,
  };
  if (deployed.built !== null) return settle(state, before, aim(app, deployed.built.artefact, deployed.built.manifest));
  // The same code is wanted: what the file says about it holds at once, while a build looks whether the code on disk changed.
  if (before?.target != null && !before.deleting && sameSource(before, app)) {
    const aimed = aim(app, before.target.artefact, before.target.manifest);
    return settle(
      state,
      before,
      aimed.build.state === "failed" ? aimed : { ...aimed, build: { state: "pending", quiet: true } },
    );
  }
  return settle(state, before, app);
}

const sameSource = (a: DesiredApp, b: DesiredApp): boolean =>
  a.config.import_path === b.config.import_path &&
  canonicalJson([a.config.args, a.config.runtime_env]) === canonicalJson([b.config.args, b.config.runtime_env]);

function aim(app: DesiredApp, artefact: string, manifest: Target["manifest"]): DesiredApp {
  try {
    return {
      ...app,
      build: { state: "done" },
      target: resolveTarget(app.config, artefact, manifest, app.target, app.generation),
    };
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    return { ...app, build: { state: "failed", message: error.message } };
  }
}

function withBuild(state: State, name: AppName, generation: number, change: (app: DesiredApp) => DesiredApp): State {
  const app = state.desired.apps[name];
  // A result of an older deploy, or of one that was taken back, says nothing about this one.
  if (app === undefined || app.generation !== generation || app.deleting) return state;
  return settle(state, app, change(app));
}

/** Stores the application and starts the story of each deployment anew where its code or user config changed. */
function settle(state: State, before: DesiredApp | undefined, app: DesiredApp): State {
  const deployments = { ...state.deployments };
  for (const deployment of Object.values(app.target?.deployments ?? {})) {
    const id = deploymentId(app.name, deployment.name);
    const old = before?.target?.deployments[deployment.name];
    const known = deployments[id];
    const changed =
      old === undefined ||
      old.code !== deployment.code ||
      old.config !== deployment.config ||
      before?.deleting === true;
    const again = known !== undefined && known.status === "DEPLOY_FAILED" && app.generation !== before?.generation;
    if (known === undefined || changed || again) deployments[id] = updating(id, known);
  }
  for (const id of Object.keys(deployments)) {
    const [name, deployment] = id.split("#");
    if (name === app.name && app.target !== null && app.target.deployments[deployment ?? ""] === undefined)
      delete deployments[id];
  }
  return withApp({ ...state, deployments }, app);
}

function updating(id: DeploymentState["id"], known: DeploymentState | undefined): DeploymentState {
  return {
    id,
    status: "UPDATING",
    trigger: "CONFIG_UPDATE_STARTED",
    message: "",
    target: known?.target ?? null,
    failures: 0,
    lastFailure: null,
    everRan: false,
    autoscale: known?.autoscale ?? { samples: [], upSinceMs: null, downSinceMs: null },
  };
}

const withApp = (state: State, app: DesiredApp): State => ({
  ...state,
  desired: { ...state.desired, apps: { ...state.desired.apps, [app.name]: app } },
});

const withApiKeys = (state: State, change: (keys: DesiredState["apiKeys"]) => DesiredState["apiKeys"]): State => ({
  ...state,
  desired: { ...state.desired, apiKeys: change(state.desired.apiKeys) },
});

const mapApps = (desired: DesiredState, change: (app: DesiredApp) => DesiredApp): Record<string, DesiredApp> =>
  Object.fromEntries(Object.entries(desired.apps).map(([name, app]) => [name, change(app)]));

/** After a start: every deployment of the stored desired state begins as updating; reports then show what runs. */
export function deploymentsAtStart(desired: DesiredState): Record<string, DeploymentState> {
  const deployments: Record<string, DeploymentState> = {};
  for (const app of Object.values(desired.apps))
    for (const deployment of Object.values(app.target?.deployments ?? {})) {
      const id = deploymentId(app.name, deployment.name);
      deployments[id] = updating(id, undefined);
    }
  return deployments;
}
