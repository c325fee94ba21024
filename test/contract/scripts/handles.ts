/** Areas handle and imperative: calls between deployments, and what a driver (here a script) does with a mesh. */
import { compareMessage, stateOf } from "./states.ts";
import type { Replay } from "../replay.ts";
import type { HttpObserved } from "../recording.ts";

type Json = null | string | number | boolean | readonly Json[] | { readonly [key: string]: Json };

/** Without what only Python has: classes, their ancestors, the line that names the actor; and `XError: ` before a message. */
function neutral(value: Json): Json {
  if (Array.isArray(value)) return value.map(neutral);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(
        ([key]) =>
          !["type", "mro", "str_first_line", "isinstance_ValueError", "contains_traceback", "cause"].includes(key),
      )
      .map(([key, inner]) => [
        key,
        key === "str_last_line"
          ? String(inner)
              .replace(/^[\w.]+(?:Error|Exception): /, "")
              .replace(/^"|"$/g, "")
          : neutral(inner),
      ]),
  );
}

/** X-HDL-*: `GET /h?t=...`, answered with what the driver deployment saw. */
export async function handleCalls(replay: Replay): Promise<void> {
  const answer = await replay.get(String(replay.step(0).request).slice("GET ".length));
  const { status, json } = replay.observed<HttpObserved & { json: Json }>(0);
  replay.http(0, answer, { status } as HttpObserved);
  if (answer === "closed" || answer.status !== status) return;
  replay.json(0, "json", neutral(json), JSON.parse(answer.body.toString()));
}

type Seen = Record<string, { result?: Json; error?: string }>;

async function script(replay: Replay, ...args: string[]): Promise<Seen> {
  const { exit, stdout, stderr } = await replay.mesh.command(["exec", "ct_script.ts", ...args]);
  if (exit !== 0) throw new Error(`The script ended with ${String(exit)}: ${stderr}`);
  return JSON.parse(stdout) as Seen;
}

/** X-HDL-11, as a script: in a replica, handles are bound. */
export async function handlesByName(replay: Replay): Promise<void> {
  const { json } = replay.observed<{ json: Record<string, Json> }>(0);
  const seen = await script(replay, "handles");
  for (const name of ["get_deployment_handle", "unknown app", "unknown deployment"]) {
    const ray = neutral(json[name]!);
    replay.json(
      0,
      name,
      (ray as { str_last_line?: Json }).str_last_line ?? ray,
      seen[name]?.error ?? seen[name]?.result,
    );
  }
}

/** C015: `E <step> -> <class> | <message>`, `R <step> -> <result>`, `STATUS {...}`. */
export async function imperative(replay: Replay): Promise<void> {
  const seen = await script(replay);
  for (const line of replay.observed<{ results: string[] }>(0).results) {
    if (line.startsWith("STATUS ")) {
      const ray = JSON.parse(
        line.slice("STATUS ".length).replaceAll("'", '"').replaceAll("ApplicationStatus.", ""),
      ) as object;
      replay.json(0, "status", ray, seen["status"]?.result);
      continue;
    }
    const [, kind = "", name = "", rest = ""] = /^([ER]) (.*?) -> (.*)$/.exec(line) ?? [];
    if (kind === "R")
      replay.json(0, name, rest === "None" ? null : rest, seen[name]?.result ?? seen[name]?.error ?? null);
    else compareMessage(replay, 0, name, rest.slice(rest.indexOf(" | ") + 3), seen[name]?.error ?? "no error");
  }
}

/** C069, after C015: how imperative applications are listed. */
export async function listed(replay: Replay): Promise<void> {
  const { mesh } = replay;
  const app = await mesh.application("imp");
  replay.json(0, "json", replay.observed<{ json: object }>(0).json, app, true);
  const { applications } = await mesh.status();
  replay.json(1, "list", replay.observed(1), Object.fromEntries(Object.values(applications).map((one) => [one.name, [one.status, one.source]]))); // prettier-ignore
  for (const step of [2, 3, 4]) {
    const query = /\?.*$/.exec(String(replay.step(step).request))?.[0] ?? "";
    replay.json(step, "names", replay.observed(step), Object.keys((await mesh.status(query)).applications).sort());
  }
  replay.json(0, "state", "RUNNING", stateOf(app).app_status);
  // No declarative deploy takes them away, and what comes next has the mesh to itself.
  for (const name of ["imp", "impbad"]) await mesh.api("DELETE", `/api/skein/applications/${name}`);
}
