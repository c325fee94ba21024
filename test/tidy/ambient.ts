/** Time, chance and the environment are arguments: only shell files may reach for them. */
import { FOLDERS } from "./arrows.ts";
import { isNode, type Node, type SourceTree, walk } from "./source-tree.ts";

/** Shells by their name: programs, and what only Node or only a tab runs. */
const SHELL_NAMES = /(^|\/)((node|browser)\/.+|main\.ts|[\w-]+-main\.ts)$/;

/** Shells that the name doesn't tell, each with the reason why it needs what it takes. */
export const SHELL_FILES: Readonly<Record<string, string>> = {
  "coordinator/builds.ts": "ends a builder that hangs in user code",
  "coordinator/coordinator.ts": "the assembly: gives the loop and the services their timers",
  "coordinator/mesh/relay.ts": "the socket side of the relay: a stranger without a hello is closed",
  "coordinator/mesh/upgrade.ts": "the socket side of control links: ends sockets whose peer answers no close",
  "engine/providers/native.ts": "refuses to load the add-on unless the environment keeps it from calling home",
  "ingress/links/listener.ts": "the socket side of links: what one event-loop turn produced goes out together",
  "llm/openai/surroundings.ts":
    "clock, chance and timers of the deployments that serve the API, whose code gets them as arguments",
  "serve/batch.ts": "runs in user code, which lives in real time",
  "worker/models/download.ts": "stall timeout of a download; its clock is an argument",
  "worker/models/patience.ts":
    "the answer timeout, and the pauses unless a caller has others; its clock is an argument",
  "worker/models/lock.ts": "waits for another process, which no virtual clock drives",
};

const MEMBERS = new Set([
  "Date.now",
  "performance.now",
  "performance.timeOrigin",
  "Math.random",
  "crypto.randomUUID",
  "crypto.getRandomValues",
  "process.env",
  "process.hrtime",
]);
const CALLS = new Set(["setTimeout", "setInterval", "setImmediate"]);
const OBJECTS = new Set(["globalThis", "self", "window"]);

/** Uses of ambient time, chance or environment in files that should be pure. */
export function ambient({ sources }: SourceTree, shells: Readonly<Record<string, string>> = SHELL_FILES): string[] {
  return sources.flatMap(({ path, program, lineOf }) => {
    const [folder = ""] = path.split("/");
    if (!(folder in FOLDERS) || SHELL_NAMES.test(path) || path in shells) return [];
    const found: string[] = [];
    walk(program, (node) => {
      const what = ambientUse(node);
      if (what !== undefined)
        found.push(`${path}:${lineOf(node.start)}: ${what} in a pure file: take it as an argument`);
    });
    return found;
  });
}

/** Names in the shell table that are no longer files. */
export function staleShells(tree: SourceTree, shells: Readonly<Record<string, string>> = SHELL_FILES): string[] {
  return Object.keys(shells)
    .filter((path) => !tree.has(path))
    .map((path) => `${path}: in the table of shells, but there is no such file`);
}

function ambientUse(node: Node): string | undefined {
  if (node.type === "MemberExpression") {
    const name = memberName(node);
    return name !== undefined && MEMBERS.has(name) ? name : undefined;
  }
  const { callee } = node;
  if (node.type === "NewExpression" && isNode(callee) && callee["name"] === "Date") {
    return (node["arguments"] as unknown[]).length === 0 ? "new Date()" : undefined;
  }
  if (node.type !== "CallExpression" || !isNode(callee)) return undefined;
  const name = callee.type === "Identifier" ? callee["name"] : memberName(callee)?.replace(/^\w+\./, "");
  const object = callee.type === "MemberExpression" && isNode(callee["object"]) ? callee["object"]["name"] : undefined;
  const isGlobal = callee.type === "Identifier" || (typeof object === "string" && OBJECTS.has(object));
  return isGlobal && typeof name === "string" && CALLS.has(name) ? name : undefined;
}

/** `a.b` of a member expression, with a leading `globalThis.` left out. */
function memberName(node: Node): string | undefined {
  const { object, property } = node;
  if (!isNode(object) || !isNode(property)) return undefined;
  const last = property["name"] ?? property["value"];
  const first =
    object.type === "MemberExpression" && isNode(object["property"]) ? object["property"]["name"] : object["name"];
  return typeof first === "string" && typeof last === "string" ? `${first}.${last}` : undefined;
}
