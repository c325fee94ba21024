/** The recordings of Ray Serve, replayed against a real mesh. */
import { expect, it } from "vitest";
import { conform, idsOf, unshown } from "../contract/conform.ts";
import { GROUPS, OPEN, SLOW_GROUPS } from "../contract/conformance.ts";
import { DIFFERENCES } from "../contract/differences.ts";
import { loadRecordings } from "../contract/recording.ts";

const outcomes = conform(GROUPS);

it("every recording is replayed or open, and every declared difference shows", () => {
  const replayed = idsOf([...GROUPS, ...SLOW_GROUPS]);
  expect([...loadRecordings().keys()].filter((id) => replayed.has(id) === Object.hasOwn(OPEN, id))).toEqual([]);
  expect(unshown(idsOf(GROUPS), outcomes)).toEqual([]);
  const general = DIFFERENCES.filter((difference) => difference.in === "*");
  expect(general.filter((difference) => !outcomes.some(({ shown }) => shown.has(difference)))).toEqual([]);
});
