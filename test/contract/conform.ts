/** Replays recordings of Ray Serve against a real mesh, as tests. What differs is declared in differences.ts, or it fails. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CommandMesh } from "./command-mesh.ts";
import { type Group, OPEN } from "./conformance.ts";
import { DIFFERENCES, explains, type Difference } from "./differences.ts";
import { loadRecordings } from "./recording.ts";
import { Replay } from "./replay.ts";
import { report, type Outcome } from "./report.ts";

/** Declares the tests of these groups; the outcomes are there when they have run. */
export function conform(groups: readonly Group[]): readonly Outcome[] {
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

  describe.each(groups.map((group) => [group.name, group] as const))("%s", (_name, group) => {
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
  return outcomes;
}

/** The recordings that groups replay. A case's name may have a remark behind its id. */
export const idsOf = (groups: readonly Group[]): ReadonlySet<string> =>
  new Set(groups.flatMap((group) => Object.keys(group.cases).map((name) => name.split(" ")[0]!)));

/** Differences that are declared for one of these recordings and did not show. */
export function unshown(ids: ReadonlySet<string>, outcomes: readonly Outcome[]): readonly Difference[] {
  const shown = new Set(outcomes.flatMap((outcome) => [...outcome.shown]));
  return DIFFERENCES.filter(
    (difference) => !shown.has(difference) && difference.in !== "*" && difference.in.some((id) => ids.has(id)),
  );
}
