/** Areas lifecycle, health, update: states of applications as the operators see them. */
import type { ApplicationDetails } from "../../../protocol/status.ts";
import { eventually } from "../../system/mesh.ts";
import { matches } from "../compare.ts";
import { replayRequest, type Replay } from "../replay.ts";
import type { AppConfig, HttpObserved } from "../recording.ts";

interface DeploymentState {
  readonly status: string;
  readonly status_trigger: string;
  readonly message?: string;
  readonly replica_states: readonly string[];
  readonly target_num_replicas: number;
}

export interface AppState {
  readonly app_status: string;
  readonly app_message: string;
  readonly route_prefix: string | null;
  readonly deployments: Readonly<Record<string, DeploymentState>>;
}

export function stateOf(app: ApplicationDetails): AppState {
  const deployments = Object.entries(app.deployments).map(
    ([name, { status, status_trigger, message, replicas, target_num_replicas }]) => {
      return [
        name,
        { status, status_trigger, message, replica_states: replicas.map(({ state }) => state), target_num_replicas },
      ] as const;
    },
  );
  return {
    app_status: app.status,
    app_message: app.message,
    route_prefix: app.route_prefix,
    deployments: Object.fromEntries(deployments),
  };
}

/** Sentences that are Ray's own, not a Python traceback's: the first, and what the exception said. */
export function essence(message: string): string[] {
  const lines = message.split("\n").filter((line) => line.trim() !== "");
  const first = lines[0] ?? "";
  const last = (lines.at(-1) ?? "").replace(/^[\w.]+(?:Error|Exception): /, "");
  return [...new Set([...(/^(Traceback|ray::)/.test(first) ? [] : [first]), last])].filter((text) => text !== "");
}

/** Steps of the form `{case: {"app config …": config}, observed: state}`: what became of each application; then plain requests. */
export async function settledStates(replay: Replay): Promise<void> {
  for (const [step, { case: labelled, request, observed }] of replay.recording.steps.entries()) {
    if (labelled === undefined) {
      if (/client waits/.test(String(request))) await unanswered(replay, step, String(request));
      else await replayRequest(replay, step, request, observed);
      continue;
    }
    const { name } = (labelled as Record<string, AppConfig>)["app config (PUT accepted with 200)"]!;
    compareState(replay, step, observed as AppState, stateOf(await replay.mesh.application(name)));
  }
}

/** C006-b: what Ray finds when it deploys, Skein finds when it is told to. */
export async function badPrefixes(replay: Replay): Promise<void> {
  for (const [step, { case: labelled, observed }] of replay.recording.steps.entries()) {
    const config = (labelled as Record<string, AppConfig>)["app config (PUT accepted with 200)"]!;
    const state = observed as AppState;
    if (state.app_status === "RUNNING") {
      compareState(replay, step, state, stateOf(await replay.mesh.application(config.name)));
      continue;
    }
    const answer = await replay.mesh.put([config]);
    replay.json(step, "put", 200, answer.status);
    compareMessage(replay, step, "message", state.app_message, answer.text);
  }
}

/** C122: nothing comes (the recording waited for four seconds). */
async function unanswered(replay: Replay, step: number, request: string): Promise<void> {
  const path = request.split(" ")[1] ?? "/";
  const answer = await Promise.race([
    replay.get(path),
    new Promise<null>((resolve) => setTimeout(() => resolve(null), 1_500)),
  ]);
  replay.json(
    step,
    "answer",
    "none yet",
    answer === null ? "none yet" : answer === "closed" ? "closed" : String(answer.status),
  );
}

export function compareState(replay: Replay, step: number, ray: AppState, skein: AppState): void {
  const silent = ({ app_message: _, deployments, ...state }: AppState): object => ({
    ...state,
    deployments: Object.fromEntries(
      Object.entries(deployments).map(([name, { message: _message, ...deployment }]) => [name, deployment]),
    ),
  });
  replay.json(step, "state", silent(ray), silent(skein));
  compareMessage(replay, step, "message", ray.app_message, skein.app_message);
  for (const [name, deployment] of Object.entries(ray.deployments))
    compareMessage(
      replay,
      step,
      `deployments.${name}.message`,
      deployment.message ?? "",
      skein.deployments[name]?.message ?? "",
    );
}

export function compareMessage(replay: Replay, step: number, what: string, ray: string, skein: string): void {
  for (const sentence of essence(ray))
    if (!skein.includes(sentence) && !matches(sentence, skein)) replay.json(step, what, sentence, skein);
  if (ray === "") replay.json(step, what, ray, skein);
}

export interface Snapshot {
  readonly status?: string;
  readonly absent?: boolean;
  readonly deployments?: Readonly<Record<string, DeploymentState>>;
}
export interface ObservedUpdate {
  readonly timeline?: readonly Snapshot[];
  readonly process_identity?: Readonly<Record<string, object>>;
  readonly continuous_get_results?: Readonly<Record<string, number>>;
  readonly after?: Record<string, unknown>;
}

const running = (app: ApplicationDetails | undefined): { pid: unknown; state: string }[] =>
  Object.values(app?.deployments ?? {}).flatMap(({ replicas }) => replicas.map(({ pid, state }) => ({ pid, state })));

/** PUTs `apps` while a client asks for `/u`, and compares what became of application `u`. */
export async function update(
  replay: Replay,
  step: number,
  apps: readonly AppConfig[],
  observed = replay.observed<ObservedUpdate>(step),
): Promise<void> {
  const { mesh } = replay;
  const before = await mesh.application("u");
  const pids = new Set(running(before).map(({ pid }) => pid));
  const statuses = new Set<string>();
  let over = false;
  const path = before.route_prefix ?? "/u";
  const asking = (async () => {
    while (!over) {
      const answer = await replay.get(path);
      statuses.add(answer === "closed" ? "closed" : String(answer.status));
    }
  })();
  const answer = await mesh.put(apps);
  replay.json(step, "put_status", 200, answer.status);
  await mesh.settled(apps.length);
  await eventually(
    async () => running(await mesh.application("u")).every(({ state }) => state !== "STOPPING"),
    "what goes is gone",
  ).catch(() => {});
  over = true;
  await asking;
  const app = await mesh.application("u");
  const last = observed.timeline?.at(-1);
  if (last?.status !== undefined)
    replay.json(
      step,
      "final",
      statesOnly(last.status, last.deployments ?? {}),
      statesOnly(app.status, stateOf(app).deployments),
    );
  const now = running(app).filter(({ state }) => state === "RUNNING");
  const kept = now.filter(({ pid }) => pids.has(pid)).length;
  const identity = observed.process_identity?.["U"];
  if (identity !== undefined)
    replay.json(step, "process_identity", identity, {
      replicas_before: pids.size,
      running_after: now.length,
      kept_same_process: kept,
      new: now.length - kept,
    });
  if (observed.continuous_get_results !== undefined)
    replay.json(step, "continuous_get_results", Object.keys(observed.continuous_get_results), [...statuses]);
  if (observed.after !== undefined)
    replay.json(step, "after", observed.after, await replay.json200(app.route_prefix ?? "/u"));
  replay.json(step, "last_deployed_time_changed", true, app.last_deployed_time_s !== before.last_deployed_time_s);
}

const statesOnly = (status: string, deployments: Readonly<Record<string, DeploymentState>>): object => ({
  status,
  deployments: Object.fromEntries(
    Object.entries(deployments).map(([name, deployment]) => [
      name,
      {
        status: deployment.status,
        trigger: deployment.status_trigger,
        target: deployment.target_num_replicas,
        // What is still going away depends on when one looks.
        states: deployment.replica_states.filter((state) => state !== "STOPPING").sort(),
      },
    ]),
  ),
});

/** Starts from the recording's own configuration, then each step's `config_app`. The previous state is not what is compared. */
export async function updates(replay: Replay): Promise<void> {
  await fresh(replay, replay.recording.applications);
  for (const [step, { config_app: config }] of replay.recording.steps.entries())
    await update(replay, step, [config as AppConfig]);
}

/** None of the replicas that were there before: they have seen other configurations. */
async function fresh(replay: Replay, apps: readonly AppConfig[]): Promise<void> {
  await replay.mesh.deploy([]);
  await replay.mesh.deploy(apps);
}

/** C102: begins with one replica and the `user_config` of its first case. */
export async function optionUpdates(replay: Replay): Promise<void> {
  const [first] = replay.recording.steps.map(
    ({ config_app: config }) => config as AppConfig & { deployments: Record<string, unknown>[] },
  );
  const deployments = (first?.deployments ?? []).map(({ max_ongoing_requests: _, ...kept }) => kept);
  await fresh(replay, [
    {
      ...replay.recording.applications[0]!,
      deployments: deployments.map(({ user_config: _, ...kept }) => kept),
    } as AppConfig,
  ]);
  await replay.mesh.deploy([{ ...first!, deployments } as AppConfig]);
  for (const [step, { config_app: config }] of replay.recording.steps.entries())
    await update(replay, step, [config as AppConfig]);
}

/** C103: only the route changes. */
export async function routeUpdate(replay: Replay): Promise<void> {
  const [app] = replay.recording.applications;
  await replay.mesh.deploy([{ ...app!, route_prefix: "/u" }]);
  const { continuous_get_results: _, ...observed } = replay.observed<ObservedUpdate>(0);
  await update(replay, 0, [app!], observed);
  await eventually(
    async () => JSON.stringify(await replay.json200("/-/routes")) === '{"/v":"u"}',
    "the route has changed",
  ).catch(() => {});
  for (const step of [1, 2, 3]) await replayRequest(replay, step, replay.step(step).request, replay.observed(step));
}

/** C113: `reconfigure` comes between the start and the end of running requests. */
export async function updateUnderLoad(replay: Replay): Promise<void> {
  const [app] = replay.recording.applications as readonly (AppConfig & { deployments: object[] })[];
  const before = { ...app!, deployments: [{ name: "U", num_replicas: 1, user_config: { v: 10 } }] };
  await replay.mesh.deploy([before]);
  const slow = Array.from({ length: 3 }, () => replay.json200("/u?until=11"));
  await eventually(async () => (await replay.json200("/u?running")) === slow.length, "the requests run");
  await replay.mesh.deploy([app!]);
  await eventually(
    async () => ((await replay.json200("/u")) as { v_at_start: number }).v_at_start === 11,
    "the new configuration answers",
  ).catch(() => {});
  const observed = replay.observed<Record<string, unknown>>(0);
  const seen = (await Promise.all(slow)) as Record<string, unknown>[];
  replay.json(0, "slow_requests", observed["slow_requests"], seen, true);
  replay.json(0, "GET afterwards", observed["GET afterwards"], {
    v: ((await replay.json200("/u")) as { v_at_start: number }).v_at_start,
  });
}

/** C105: an application goes while a request is in it. */
export async function dropped(replay: Replay): Promise<void> {
  const [echo] = replay.recording.applications;
  await replay.mesh.deploy([echo!, { name: "u", route_prefix: "/u", import_path: "ct_upd:app" }]);
  const inFlight = replay.get("/u?s=3");
  await eventually(async () => (await replay.json200("/u?running")) === 1, "the request runs");
  await replay.mesh.put([echo!]);
  const observed = replay.observed<
    { timeline: { u: Snapshot[] }; in_flight_request: { result: number } } & Record<string, unknown>
  >(0);
  replay.json(0, "status", observed.timeline.u[0]?.status, (await replay.mesh.status()).applications["u"]?.status);
  await eventually(async () => ((await replay.get("/u")) as HttpObserved).status === 404, "the route is gone").catch(
    () => {},
  );
  const after = await replay.get("/u");
  replay.json(0, "GET /u", 404, after === "closed" ? after : after.status);
  const answer = await inFlight;
  replay.json(0, "in_flight_request", observed.in_flight_request.result, answer === "closed" ? answer : answer.status);
  await replay.mesh.settled(1);
  replay.json(0, "routes", observed["GET /-/routes afterwards"], JSON.stringify(await replay.json200("/-/routes")));
}

interface ObservedHealth {
  readonly timeline: readonly Snapshot[];
  readonly killing_request?: HttpObserved;
  readonly replica_replaced: boolean;
  readonly continuous_get_results: Readonly<Record<string, number>>;
}

/** C012, C117: the only replica of `health` dies or hangs, and is replaced. */
export const sickness =
  (mode: "exit" | "hang") =>
  async (replay: Replay): Promise<void> => {
    const { mesh } = replay;
    const observed = replay.observed<ObservedHealth>(0);
    const pid = running(await mesh.application("health"))[0]?.pid;
    // A GET may be tried again on the replacement, which dies of it as well: states are watched meanwhile.
    const killing = replay.get(`/health?mode=${mode}`);
    let answered = false;
    void killing.finally(() => (answered = true));
    const seen: AppState[] = [];
    await eventually(async () => {
      const app = await mesh.application("health");
      seen.push(stateOf(app));
      if (
        !answered ||
        app.status !== "RUNNING" ||
        !running(app).some((replica) => replica.state === "RUNNING" && replica.pid !== pid)
      )
        return false;
      return seen.some(({ app_status: status }) => status === "UNHEALTHY");
    }, "the replica has been replaced");
    if (observed.killing_request !== undefined) replay.http(0, await killing, observed.killing_request);
    // In order of their first appearance, and the last: how often it was sick depends on the tries of the killing request.
    const words = (states: readonly string[]): string => [...new Set(states), states.at(-1)].join(" ");
    replay.json(
      0,
      "order of states",
      words(observed.timeline.map(({ status }) => status ?? "")),
      words(["RUNNING", ...seen.map(({ app_status: status }) => status)]),
    );
    const sick = observed.timeline.find(({ status }) => status === "UNHEALTHY")?.deployments?.["Health"];
    const got = seen.find(({ app_status: status }) => status === "UNHEALTHY")?.deployments["Health"];
    if (got !== undefined && sick !== undefined) {
      replay.json(0, "status_trigger", sick.status_trigger, got.status_trigger);
      compareMessage(replay, 0, "message", sick.message ?? "", got.message ?? "");
    }
    await eventually(async () => {
      const answer = await replay.get("/health");
      return answer !== "closed" && answer.status === 200;
    }, "the replacement answers");
  };
