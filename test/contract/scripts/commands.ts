/** Area cli: the same verbs with the same arguments. Words of the log (time, place) don't count, nor which stream a message is on. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { eventually } from "../../system/mesh.ts";
import { matches } from "../compare.ts";
import type { Said } from "../command-mesh.ts";
import type { HttpObserved } from "../recording.ts";
import type { Replay } from "../replay.ts";

interface ObservedCommand {
  readonly exit_code?: number;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly commands?: readonly string[];
  readonly options?: readonly string[];
}

/** `serve status` -> `skein status`; null: not a command of this mesh's. */
function argumentsOf(replay: Replay, cli: string): { args: string[]; input?: string } | null {
  const [, piped, verb] = /^(?:echo (\w+) \| )?serve ?(.*)$/.exec(cli) ?? [];
  if (verb === undefined) return null;
  const args = verb
    .replace("<dashboard>", replay.mesh.operatorsUrl)
    .split(" ")
    .filter((part) => part !== "");
  return { args, ...(piped === undefined ? {} : { input: `${piped}\n` }) };
}

/** Sentences of Ray's log, without time, level and source line; its own name is the command's. */
const sentences = (text: string): string[] =>
  text
    .split("\n")
    .map((line) =>
      line
        .replace(/^<timestamp>\t\w+ scripts\.py:<line> -- /, "")
        .replaceAll("serve ", "skein ")
        .trim(),
    )
    .filter((line) => line !== "");

const YAML_OUTPUT = /^(proxies|status|name|# This file|proxy_location|---)/m;
/** YAML that starts at the first key, whatever the log said before. */
const documents = (text: string): unknown[] =>
  parseAllDocuments(text.slice(text.search(YAML_OUTPUT))).map((document) => {
    const value = document.toJSON() as { proxies?: Record<string, string> } | null;
    // Nodes have names of their own.
    return value?.proxies == null ? value : { ...value, proxies: Object.values(value.proxies) };
  });

/** Every step of a recording of the command line, in order. */
export async function commands(replay: Replay): Promise<void> {
  for (const [step, { cli, file, request, observed }] of replay.recording.steps.entries()) {
    if (file !== undefined) {
      const written = readFileSync(join(replay.mesh.folder, "apps", file), "utf8");
      replay.json(step, "file", parse(String(observed)), parse(written));
    } else if (cli !== undefined) {
      const command = argumentsOf(replay, cli);
      if (command === null) continue;
      const said = await replay.mesh.command(command.args, command);
      compare(replay, step, observed as ObservedCommand, said);
      // The recording waited for what it had deployed.
      if (command.args[0] === "deploy" && said.exit === 0) await quiet(replay);
    } else if (typeof request === "string" && request.startsWith("GET ")) {
      await routesOrNothing(replay, step, request.slice("GET ".length), observed);
    }
  }
}

const quiet = (replay: Replay): Promise<void> =>
  eventually(async () => {
    const apps = Object.values((await replay.mesh.status()).applications);
    return apps.every(({ status }) => status !== "DEPLOYING" && status !== "DELETING");
  }, "nothing is being deployed");

async function routesOrNothing(replay: Replay, step: number, path: string, observed: unknown): Promise<void> {
  if (typeof observed === "string") return replay.json(step, "body", JSON.parse(observed), await replay.json200(path));
  const got = await replay.get(path).then(
    () => "an answer",
    () => "connection refused",
  );
  replay.json(step, "answer", (observed as HttpObserved).error, got);
}

function compare(replay: Replay, step: number, observed: ObservedCommand, said: Said): void {
  replay.json(step, "exit_code", observed.exit_code, said.exit);
  if (observed.commands !== undefined) {
    const names = (text: string): string[] => text.split(/[\s,/|]+/).filter((word) => word !== "");
    const known = new Set(names(said.stdout + said.stderr));
    replay.json(step, "commands", observed.commands.filter((name) => !known.has(name)).join(" "), "");
    const options = (observed.options ?? []).flatMap((option) => option.match(/--?[a-z][\w-]*/g) ?? []);
    replay.json(step, "options", options.filter((name) => !known.has(name)).join(" "), "");
    return;
  }
  const { stdout = "", stderr = "" } = observed;
  if (YAML_OUTPUT.test(stdout)) {
    replay.json(step, "yaml", documents(stdout), documents(said.stdout));
    return;
  }
  // A traceback says its last line.
  const ray = sentences(stderr.startsWith("Traceback") ? (stderr.trim().split("\n").at(-1) ?? "") : stdout + stderr);
  const skein = sentences(said.stdout + said.stderr);
  for (const sentence of ray)
    if (!skein.some((line) => line.includes(sentence) || matches(sentence, line)))
      replay.json(step, "says", sentence, skein.join("\n"));
}
