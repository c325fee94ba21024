/** The judge of the chaos rounds: what it lets pass, and that it sees what it is there to see. */
import { describe, expect, it } from "vitest";
import type { Kind, Outcome } from "./load.ts";
import type { Run } from "./observer.ts";
import { EXCUSED, verdict, type Fault, type Harm, type Target } from "./verdict.ts";

const VICTIM = 1;
const OTHER = 2;
const harm = (target: Target, fault: Fault): Harm => ({ target, fault, pids: [VICTIM], from: 1_000, until: 2_000 });
const asked = (kind: Kind, over: Partial<Outcome> = {}): Outcome => ({
  id: "c",
  kind,
  startedAt: 900,
  ms: 500,
  wrong: null,
  status: 200,
  broken: false,
  cut: false,
  ...over,
});
const lost = { wrong: "500: Internal Server Error", status: 500 };
const cut = { wrong: "ECONNRESET", broken: true, cut: true };
const refused = { wrong: "ECONNREFUSED", status: null, broken: true };
const ran = (...pids: number[]): Run[] => pids.map((pid, i) => ({ pid, at: 990 + i * 1_000, ended: true }));

describe("a request that was answered", () => {
  it.each<[string, Kind, Run[], Target, Fault, RegExp | null]>([
    ["ran once", "post", ran(OTHER), "replica", "kill", null],
    ["ran nowhere", "get", [], "replica", "kill", /no replica has run it$/],
    ["ran to no end", "get", [{ pid: OTHER, at: 990, ended: false }], "replica", "kill", /to its end/],
    ["ran again after its first replica died", "keyed", ran(VICTIM, OTHER), "replica", "kill", null],
    ["ran again though its first replica lives", "keyed", ran(OTHER, OTHER), "replica", "kill", /nothing had happened/],
    ["ran again, heard of the other way round", "keyed", ran(VICTIM, OTHER).reverse(), "replica", "kill", null],
    ["had come in before the freeze, and ran again after it", "get", ran(OTHER, VICTIM), "replica", "stop", null],
    ["ran again without a key", "post", ran(VICTIM, OTHER), "replica", "kill", /without a key/],
    ["ran three times", "get", ran(VICTIM, VICTIM, OTHER), "replica", "kill", /ran 3 times/],
    ["ran again behind a frozen ingress", "keyed", ran(OTHER, OTHER), "ingress", "stop", null],
    ["ran again without a key behind a frozen ingress", "post", ran(OTHER, OTHER), "ingress", "stop", /without a key/],
  ])("and %s", (_what, kind, runs, target, fault, says) => {
    const judged = verdict(asked(kind), runs, harm(target, fault));
    if (says === null) expect(judged).toBeNull();
    else expect(judged).toMatch(says);
  });
});

it("what was sent elsewhere while a replica was frozen must not run there when it goes on", () => {
  const late = asked("get", { startedAt: 1_100 });
  expect(verdict(late, ran(OTHER, VICTIM), harm("replica", "stop"))).toMatch(/nothing had happened/);
});

describe("a request that failed", () => {
  it.each<[string, Outcome, Target, Fault, boolean]>([
    ["a GET", asked("get", lost), "replica", "kill", false],
    ["a POST with a key", asked("keyed", lost), "replica", "kill", false],
    ["a POST with a key at a frozen ingress", asked("keyed", lost), "ingress", "stop", false],
    ["a POST without", asked("post", lost), "replica", "kill", true],
    [
      "a POST without, refused in other words",
      asked("post", { wrong: "503: no", status: 503 }),
      "replica",
      "kill",
      false,
    ],
    ["a POST without, before the fault", asked("post", { ...lost, ms: 50 }), "replica", "kill", false],
    ["a POST without, long after it", asked("post", { ...lost, startedAt: 2_600 }), "replica", "kill", false],
    ["a POST without, though only the coordinator died", asked("post", lost), "coordinator", "kill", false],
    ["a POST without, though only an agent stood still", asked("post", lost), "agent", "stop", false],
    ["a stream in the middle", asked("stream", cut), "replica", "kill", true],
    ["a stream before it began", asked("stream", lost), "replica", "kill", false],
    ["a stream that ended early", asked("stream", { wrong: "lines are missing" }), "replica", "kill", false],
    ["a connection without an ingress", asked("get", refused), "ingress", "kill", true],
    ["a connection with a frozen ingress", asked("get", refused), "ingress", "stop", false],
    ["an answer that never came", asked("get", { wrong: "no answer in time", ms: 20_000 }), "ingress", "kill", false],
    ["an answer that is another's", asked("get", { wrong: "answered with d" }), "ingress", "kill", false],
  ])("%s", (_what, outcome, target, fault, excused) => {
    expect(verdict(outcome, ran(VICTIM), harm(target, fault))).toBe(excused ? EXCUSED : outcome.wrong);
  });
});
