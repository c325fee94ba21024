/** What is said when a mesh is up or an application serves: a short block for people, or one JSON line for programs. Pure. */
import type { InstanceDetails } from "../../protocol/status.ts";
import { urlOf } from "../follow.ts";

export interface Serving {
  readonly status: InstanceDetails;
  readonly names: readonly string[];
  /** The status page's link, with the admin token in the fragment where it is meant to be opened. */
  readonly statusPage: string;
  /** What Ctrl-C takes away: the whole mesh, or only these applications. */
  readonly own: boolean;
  /** Body of the curl line. */
  readonly body: string | null;
  readonly elapsedS: number;
}

/** Aligned lines that end with how to stop. */
export function servingBlock({ status, names, statusPage, own, body, elapsedS }: Serving): string {
  const urls = names.map((name) => ({ name, url: urlOf(status, name) }));
  const first = urls.find((one) => one.url !== undefined)?.url;
  const rows: [string, string][] = urls.map(({ name, url }) => [
    names.length === 1 ? "URL" : name,
    url ?? "(no route: called by other deployments only)",
  ]);
  if (first !== undefined)
    rows.push([
      "Try it",
      body === null ? `curl ${first}` : `curl -X POST ${first} -H 'content-type: application/json' -d '${body}'`,
    ]);
  rows.push(
    ["Status", statusPage],
    ["Stop", own ? "Ctrl-C" : `Ctrl-C (takes only ${names.join(", ")} away; the mesh goes on)`],
  );
  const width = Math.max(...rows.map(([label]) => label.length));
  return [
    "",
    `Ready in ${elapsedS.toFixed(1)} s.`,
    "",
    ...rows.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`),
    "",
  ].join("\n");
}
