/** Areas lifecycle and update, the slow ones: constructors that never succeed, waves of an update, updates that fail. */
import type { ApplicationDetails } from "../../../protocol/status.ts";
import { eventually } from "../../system/mesh.ts";
import type { Replay } from "../replay.ts";
import type { AppConfig } from "../recording.ts";
import { compareMessage, compareState, stateOf, update, type ObservedUpdate } from "./states.ts";

const LOOK_AGAIN_MS = 10;

/** Looks at an application again and again until `done` says so. */
async function watch(
  replay: Replay,
  name: string,
  look: (app: ApplicationDetails) => void,
  done: (app: ApplicationDetails) => boolean,
): Promise<void> {
  for (;;) {
    const app = await replay.mesh.application(name);
    look(app);
    if (done(app)) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

/** Numbers in `Retrying N more time(s)`, each once, in the order seen. */
class Retries {
  readonly #seen = new Set<string>();
  look({ deployments }: ApplicationDetails): void {
    for (const { message } of Object.values(deployments)) {
      const left = /Retrying (\d+) more time/.exec(message)?.[1];
      if (left !== undefined) this.#seen.add(left);
    }
  }
  get numbers(): string[] {
    return [...this.#seen];
  }
}

/** Counted down, from whatever was seen first: a look may come too late for some. */
function compareRetries(replay: Replay, step: number, first: number, { numbers }: Retries): void {
  const sound =
    numbers.length > 0 &&
    numbers.every((n, i) => Number(n) <= first && (i === 0 || Number(n) < Number(numbers[i - 1])));
  replay.json(step, "retry_messages", `down from ${first}`, sound ? `down from ${first}` : numbers.join(", "));
}

/** C121: each constructor run leaves a line in the log. */
export async function hopeless(replay: Replay): Promise<void> {
  const { mesh, recording } = replay;
  const answer = await mesh.put(recording.applications);
  replay.json(0, "put", 200, answer.status);
  await Promise.all(
    recording.applications.map(async ({ name }, step) => {
      const observed = replay.observed<{ constructor_runs: number; final_message_first_line: string }>(step);
      const retries = new Retries();
      const gone = ({ deployments }: ApplicationDetails): boolean => deployments["Ctor"]?.replicas.length === 0;
      await watch(replay, name, (app) => retries.look(app), (app) => app.status === "DEPLOY_FAILED" && gone(app)); // prettier-ignore
      let runs = 0;
      // The last lines are written after the replica has gone.
      await eventually(() => (runs = mesh.logsOf(name).split("constructor runs").length - 1) >= observed.constructor_runs, "each run has left its line").catch(() => {}); // prettier-ignore
      replay.json(step, "constructor_runs", observed.constructor_runs, runs);
      compareRetries(replay, step, step === 0 ? 6 : 1, retries);
      const { message } = (await mesh.application(name)).deployments["Ctor"]!;
      replay.json(step, "final_message_first_line", observed.final_message_first_line, message.split("\n")[0]);
    }),
  );
}

/** C129: the second replica has no place, the first serves. */
export async function onePerNode(replay: Replay): Promise<void> {
  const { mesh, recording } = replay;
  const app = recording.applications.find(({ name }) => name === "u")!;
  await mesh.deploy([]);
  await mesh.put([app]);
  await watch(replay, "u", () => {}, ({ deployments }) => deployments["U"]?.replicas.some(({ state }) => state === "RUNNING") === true); // prettier-ignore
  const last = replay.observed<Required<Pick<ObservedUpdate, "timeline">>>(0).timeline.at(-1)!;
  const state = {
    app_status: last.status ?? "",
    app_message: "",
    route_prefix: "/u",
    deployments: last.deployments ?? {},
  };
  const got = stateOf(await mesh.application("u"));
  const u = got.deployments["U"]!;
  compareState(replay, 0, state, {
    ...got,
    deployments: { U: { ...u, replica_states: [...u.replica_states].sort() } },
  });
  replay.http(1, await replay.get("/u"));
}

type Counts = Readonly<Record<string, number>>;
const WAVES: readonly object[] = [{}, { rolling_update_percentage: 1 }, { max_surge_percent: 100 }];

/** C164: five replicas get other code, by the rule of each step. */
export async function waves(replay: Replay): Promise<void> {
  const { mesh, recording } = replay;
  const [app] = recording.applications as readonly (AppConfig & { deployments: object[] })[];
  for (const [step, rule] of WAVES.entries()) {
    const config = (importPath: string): AppConfig =>
      ({ ...app, import_path: importPath, deployments: [{ ...app!.deployments[0], ...rule }] }) as AppConfig;
    await mesh.deploy([config("ct_upd:app")]);
    const states = (now: ApplicationDetails): string[] =>
      now.deployments["U"]?.replicas.map(({ state }) => state) ?? [];
    await watch(replay, "u", () => {}, (now) => states(now).every((state) => state === "RUNNING")); // prettier-ignore
    await mesh.put([config("ct_upd:app_copy")]);
    const seen: Counts[] = [];
    await watch(
      replay,
      "u",
      (now) =>
        seen.push(
          Object.fromEntries(
            Map.groupBy(states(now), (state) => state)
              .entries()
              .map(([state, of]) => [state, of.length]),
          ),
        ),
      (now) => now.status === "RUNNING" && states(now).length === 5,
    );
    replay.json(
      step,
      "waves",
      bounds(replay.observed<{ state_counts_in_order: Counts[] }>(step).state_counts_in_order),
      bounds(seen),
    );
  }
}

/** What an update promises. Replicas that are stopping are on their way out for as long as their process takes. */
const bounds = (counts: readonly Counts[]): object => ({
  "fewest that run": Math.min(...counts.map((count) => count["RUNNING"] ?? 0)),
  "most that are there": Math.max(...counts.map((count) => (count["RUNNING"] ?? 0) + (count["STARTING"] ?? 0))),
});

/** X-UPD-04, X-UPD-06: an update that can't succeed, over `before`. Then X-UPD-05 heals it. */
export const failing =
  (before: object, retries: number) =>
  async (replay: Replay): Promise<void> => {
    const { mesh, recording } = replay;
    const app = recording.applications.find(({ name }) => name === "u")!;
    await mesh.deploy([]);
    await mesh.deploy([{ ...app, ...before }]);
    const seen = new Retries();
    let over = false;
    const watching = watch(replay, "u", (now) => seen.look(now), () => over); // prettier-ignore
    await update(replay, 0, [app]);
    over = true;
    await watching;
    compareRetries(replay, 0, retries, seen);
    const last = replay.observed<ObservedUpdate>(0).timeline?.at(-1);
    const ray = last?.deployments?.["U"]?.message ?? "";
    compareMessage(replay, 0, "message", ray, (await mesh.application("u")).deployments["U"]?.message ?? "");
    replay.http(0, await replay.get("/u"), { status: 200 });
  };

/** X-UPD-05: directly after X-UPD-04. */
export async function healed(replay: Replay): Promise<void> {
  const { ["GET /u"]: seen, ...observed } = replay.observed<ObservedUpdate & { "GET /u": object }>(0);
  await update(replay, 0, replay.recording.applications, observed);
  // One of the two was there before: its history is longer. Whoever asks one at a time gets the one that answers faster; the other gets its turn
  // at the latest when its speed is forgotten (SPEED_LIFETIME_MS).
  let fresh: { history?: readonly unknown[] } = {};
  await eventually(
    async () => (fresh = (await replay.json200("/u")) as typeof fresh).history?.length === 1,
    "the new replica answers",
  ).catch(() => {});
  replay.json(0, "GET /u", seen, fresh);
}
