/** One declared difference between a recording of Ray Serve and what Skein does. */
import type { StepFinding } from "../replay.ts";

export interface Difference {
  /** Recordings in which it shows; "*": any. */
  readonly in: readonly string[] | "*";
  /** Absent: any step. */
  readonly step?: number;
  /** What differs, as the comparer names it; a RegExp for many names. */
  readonly what: string | RegExp;
  /** What Skein does, exactly; absent: anything. */
  readonly skein?: string | RegExp;
  readonly ray?: string | RegExp;
  readonly why: string;
}

/** The differences that explain a finding. */
export function explains(difference: Difference, id: string, finding: StepFinding): boolean {
  const { in: ids, step, what, ray, skein } = difference;
  const is = (expected: string | RegExp | undefined, text: string): boolean =>
    expected === undefined || (typeof expected === "string" ? expected === text : expected.test(text));
  return (
    (ids === "*" || ids.includes(id)) &&
    (step === undefined || step === finding.step) &&
    is(what, finding.what) &&
    is(ray, finding.ray) &&
    is(skein, finding.skein)
  );
}

export const NONE = "(absent)";
