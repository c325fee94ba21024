/** The recordings of Ray Serve, replayed against a real mesh. */
import { expect, it } from "vitest";
import { conform } from "../contract/conform.ts";
import { GROUPS, OPEN, SLOW_GROUPS } from "../contract/conformance.ts";
import { DIFFERENCES } from "../contract/differences.ts";
import { loadRecordings } from "../contract/recording.ts";

const outcomes = conform(GROUPS);

it("every recording is replayed or open, and every declared difference shows", () => {
  const replayed = new Set(
    [...GROUPS, ...SLOW_GROUPS].flatMap((group) => Object.keys(group.cases).map((name) => name.split(" ")[0])),
  );
  expect([...loadRecordings().keys()].filter((id) => replayed.has(id) === Object.hasOwn(OPEN, id))).toEqual([]);
  const shown = new Set(outcomes.flatMap((outcome) => [...outcome.shown]));
  expect(DIFFERENCES.filter((difference) => !shown.has(difference))).toEqual([]);
});
