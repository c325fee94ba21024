/** The recordings of Ray Serve, replayed against a real mesh. What differs is declared in test/contract/differences.ts, or it fails here. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CommandMesh } from "../contract/command-mesh.ts";
import { GROUPS, OPEN } from "../contract/conformance.ts";
import { DIFFERENCES, explains, type Difference } from "../contract/differences.ts";
import { loadRecordings } from "../contract/recording.ts";
import { Replay } from "../contract/replay.ts";
import { report, type Outcome } from "../contract/report.ts";

const recordings = loadRecordings();
const outcomes: Outcome[] = [];
let mesh: CommandMesh;
beforeAll(async () => {
  mesh = await CommandMesh.start();
});
afterAll(async () => {
  console.log(report(outcomes, OPEN));
  await mesh.stop();
});

describe.each(GROUPS.map((group) => [group.name, group] as const))("%s", (_name, group) => {
  beforeAll(async () => {
    if (group.applications !== null) await mesh.deploy(group.applications, group.httpOptions, group.unsettled);
  });

  it.each(Object.entries(group.cases))("%s", async (name, script) => {
    // A recording in two parts has a remark behind its id.
    const id = name.split(" ")[0] ?? name;
    const recording = recordings.get(id);
    if (recording === undefined) throw new Error(`There is no recording ${id}.`);
    const replay = await Replay.of(mesh, recording);
    await script(replay);
    const shown = new Set<Difference>();
    const unexplained = replay.findings.filter((finding) => {
      const difference = DIFFERENCES.find((candidate) => explains(candidate, id, finding));
      if (difference !== undefined) shown.add(difference);
      return difference === undefined;
    });
    const lines = unexplained.map(
      ({ step, what, ray, skein }) =>
        `step ${step}: ${what}: Ray ${JSON.stringify(ray)}, Skein ${JSON.stringify(skein)}`,
    );
    outcomes.push({ id, title: recording.title, shown, unexplained: lines });
    expect(lines).toEqual([]);
  });
});

it("every recording is replayed or open, and every declared difference shows", () => {
  const replayed = new Set(GROUPS.flatMap((group) => Object.keys(group.cases).map((name) => name.split(" ")[0])));
  expect([...recordings.keys()].filter((id) => replayed.has(id) === Object.hasOwn(OPEN, id))).toEqual([]);
  const shown = new Set(outcomes.flatMap((outcome) => [...outcome.shown]));
  expect(DIFFERENCES.filter((difference) => !shown.has(difference))).toEqual([]);
});
