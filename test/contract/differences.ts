/**
 * What differs from the recordings of Ray Serve, and why: data, never silent. An entry that no longer applies fails the test too.
 * The list is printed with the report of the test run; docs/differences-from-ray-serve.md has the same in prose.
 */
import { COMMAND } from "./differences/command.ts";
import { HANDLES } from "./differences/handles.ts";
import { HTTP } from "./differences/http.ts";
import { OPERATORS } from "./differences/operators.ts";
import type { Difference } from "./differences/difference.ts";

export { explains, type Difference } from "./differences/difference.ts";

export const DIFFERENCES: readonly Difference[] = [...HTTP, ...HANDLES, ...OPERATORS, ...COMMAND];
