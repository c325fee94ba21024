/** Recordings passed, passed with declared differences, and open. Pure. */
import type { Difference } from "./differences.ts";

export interface Outcome {
  readonly id: string;
  readonly title: string;
  /** Differences that it shows. */
  readonly shown: ReadonlySet<Difference>;
  /** Findings that no difference explains, one a line. */
  readonly unexplained: readonly string[];
}

/** Differences that show in most recordings are told once, at the end. */
const EVERYWHERE = "*";

export function report(outcomes: readonly Outcome[], open: Readonly<Record<string, string>>): string {
  const same = outcomes.filter(
    ({ shown, unexplained }) =>
      unexplained.length === 0 && [...shown].every((difference) => difference.in === EVERYWHERE),
  );
  const differing = outcomes.filter((outcome) => outcome.unexplained.length === 0 && !same.includes(outcome));
  const failed = outcomes.filter((outcome) => outcome.unexplained.length > 0);
  const everywhere = new Set(
    outcomes.flatMap(({ shown }) => [...shown]).filter((difference) => difference.in === EVERYWHERE),
  );
  return [
    `Recordings of Ray Serve: ${same.length} as recorded, ${differing.length} with declared differences, ${failed.length} failed, ${Object.keys(open).length} open.`,
    `As recorded: ${same.map(({ id }) => id).join(" ")}`,
    "With declared differences:",
    ...differing.flatMap(({ id, shown }) =>
      [...shown]
        .filter((difference) => difference.in !== EVERYWHERE)
        .map(({ what, why }) => `  ${id}: ${String(what)}: ${why}`),
    ),
    "Differences everywhere:",
    ...[...everywhere].map(({ what, why }) => `  ${String(what)}: ${why}`),
    ...(failed.length === 0
      ? []
      : ["Failed:", ...failed.flatMap(({ id, unexplained }) => unexplained.map((line) => `  ${id}: ${line}`))]),
    "Open:",
    ...Object.entries(open).map(([id, why]) => `  ${id}: ${why}`),
  ].join("\n");
}

/** The declared differences as a table of Markdown, for docs/differences-from-ray-serve.md. */
export function differencesTable(differences: readonly Difference[]): string {
  const cell = (text: string | RegExp): string =>
    (typeof text === "string" ? text : text.source).replaceAll("|", "\\|");
  const rows = differences.map((difference) => {
    const ids = difference.in === EVERYWHERE ? "all" : (difference.in as readonly string[]).join(", ");
    return `| ${ids}${difference.step === undefined ? "" : `, step ${difference.step}`} | \`${cell(difference.what)}\` | ${cell(difference.why)} |`;
  });
  return ["| recording | what | why |", "| --- | --- | --- |", ...rows].join("\n");
}
