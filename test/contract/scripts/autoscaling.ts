/** Area autoscale: what a deployment's target, status and trigger become under load, in order. */
import type { ApplicationDetails } from "../../../protocol/status.ts";
import type { HttpObserved } from "../recording.ts";
import { replayRequest, type Replay } from "../replay.ts";
import { stateOf, type Snapshot } from "./states.ts";

const LOOK_AGAIN_MS = 20;
const WATCHED_MS = 60_000;
/** A recording was watched until nothing moved any more; so is the replay: this long, ms. */
const STILL_MS = 5_000;

/** The story of `Auto`: each state once, in order. How many replicas are starting or stopping depends on when one looks. */
const storyOf = (snapshots: readonly Snapshot[]): string[] =>
  snapshots
    .map(({ deployments }) => deployments?.["Auto"])
    .map((auto) => `${auto?.status} ${auto?.status_trigger} ${auto?.target_num_replicas} ${auto?.message ?? ""}`.trim())
    .filter((state, i, all) => state !== all[i - 1]);

const snapshotOf = (app: ApplicationDetails): Snapshot => ({ deployments: stateOf(app).deployments });

/** Snapshots until the answers are there and the last state has been seen for a while. */
async function watch(replay: Replay, name: string, answers: Promise<unknown>): Promise<Snapshot[]> {
  const seen: Snapshot[] = [];
  let answered = false;
  void answers.finally(() => (answered = true));
  const began = performance.now();
  let moved = began;
  for (;;) {
    const before = storyOf(seen).length;
    seen.push(snapshotOf(await replay.mesh.application(name)));
    const now = performance.now();
    if (storyOf(seen).length !== before || !answered) moved = now;
    if (now - moved > STILL_MS || now - began > WATCHED_MS) return seen;
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

async function underLoad(replay: Replay, step: number, name: string, clients: number, path: string): Promise<void> {
  const observed = replay.observed<{ timeline: Snapshot[]; responses: object }>(step);
  const answers = Promise.all(Array.from({ length: clients }, () => replay.get(path)));
  const seen = await watch(replay, name, answers);
  const statuses = Map.groupBy(await answers, (answer) => (answer === "closed" ? answer : String(answer.status)));
  replay.json(step, "responses", observed.responses, Object.fromEntries(statuses.entries().map(([status, of]) => [status, of.length]))); // prettier-ignore
  const story = storyOf(observed.timeline);
  // A recording that ends in the middle was not watched to its end.
  const until = story.at(-1)?.startsWith("HEALTHY") === true ? undefined : story.length;
  replay.json(step, "story", story.join("; "), storyOf(seen).slice(0, until).join("; "));
}

/** C142: one to three replicas and back. */
export const upAndDown = (replay: Replay): Promise<void> => underLoad(replay, 0, "a13", 12, "/a13?s=6");

/** C143: to zero and from zero. */
export async function fromZero(replay: Replay): Promise<void> {
  const asked = replay.observed<Snapshot>(0);
  replay.json(0, "story", storyOf([asked]), storyOf([snapshotOf(await replay.mesh.application("a02"))]));
  await replayRequest(replay, 1, replay.step(1).request, replay.observed(1));
  const { status, body } = replay.observed<HttpObserved>(2);
  replay.http(2, await replay.get("/a02"), { status, body } as HttpObserved);
  const seen = await watch(replay, "a02", Promise.resolve());
  replay.json(3, "story", storyOf(replay.observed<{ timeline: Snapshot[] }>(3).timeline).join("; "), storyOf(seen).join("; ")); // prettier-ignore
  await underLoad(replay, 4, "a02", 10, "/a02?s=3");
}
