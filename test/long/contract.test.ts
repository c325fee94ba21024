/** The recordings of Ray Serve that wait for an autoscaler. */
import { expect, it } from "vitest";
import { conform, idsOf, unshown } from "../contract/conform.ts";
import { SLOW_GROUPS } from "../contract/conformance.ts";

const outcomes = conform(SLOW_GROUPS);

it("every difference that is declared for them shows", () => {
  expect(unshown(idsOf(SLOW_GROUPS), outcomes)).toEqual([]);
});
