/** The document says which recordings Skein differs from; the list is the one that the replay uses. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DIFFERENCES } from "./differences.ts";
import { loadRecordings } from "./recording.ts";
import { differencesTable } from "./report.ts";

it("docs/differences-from-ray-serve.md has every declared difference (else: put the table below between its marks)", () => {
  const document = readFileSync(new URL("../../docs/differences-from-ray-serve.md", import.meta.url), "utf8");
  expect(/<!-- recordings -->\n([^]*?)\n<!-- end -->/.exec(document)?.[1]).toBe(differencesTable(DIFFERENCES));
});

it("every difference says why, and of recordings that are there", () => {
  const recordings = loadRecordings();
  expect(DIFFERENCES.filter(({ why }) => why.length < 10)).toEqual([]);
  expect(
    DIFFERENCES.flatMap((difference) => (difference.in === "*" ? [] : difference.in)).filter(
      (id) => !recordings.has(id),
    ),
  ).toEqual([]);
});
