/**
 * From an export to the graph of bound deployments: names, options, callees and the canonical hash that every replica must find again.
 * Pure but for user code's own builder function.
 */
import { canonicalJson, sha256Hex, type GraphDeployment } from "../protocol/artefact.ts";
import { SkeinError } from "../protocol/errors.ts";
import { DEPLOYMENTS_MAX } from "../protocol/limits.ts";
import { Application, Deployment, isClass, type Servable } from "./deployment.ts";

/** One deployment of the graph, with what constructs it. */
export interface GraphNode {
  readonly name: string;
  readonly target: Servable;
  readonly options: Readonly<Record<string, unknown>>;
  /** Constructor arguments; applications among them have become nodes. */
  readonly args: readonly unknown[];
  readonly callees: readonly string[];
}
/** A place in the arguments where the handle of a deployment goes. */
export class HandlePlace {
  readonly deployment: string;
  constructor(deployment: string) {
    this.deployment = deployment;
  }
}

export interface Graph {
  readonly ingress: string;
  readonly nodes: readonly GraphNode[];
  /** SHA-256 of the canonical JSON of names, options, arguments and ingress. */
  readonly hash: string;
}

/** What a builder gave back or an export is, as an error message names it. */
const describe = (value: unknown): string => {
  if (value instanceof Deployment) return `a Deployment ('${value.name}'); call .bind() on it`;
  if (isClass(value)) return `the class '${value.name}'; write deployment(${value.name}).bind()`;
  if (value === null || typeof value !== "object")
    return typeof value === "function" ? "a function" : value === null ? "null" : typeof value;
  return `an object of ${value.constructor?.name ?? "no class"}`;
};

/**
 * The application that an export is, or that it builds when it is a function.
 * Throws `INVALID_ARGUMENT` with Ray's words where it is neither; what a builder throws comes out as it is.
 */
export async function applicationOf(exported: unknown, args: Readonly<Record<string, unknown>>): Promise<Application> {
  const given = Object.keys(args).length > 0;
  if (exported instanceof Application) {
    if (given)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        "Arguments can only be passed to an application builder function, not an already built application.",
      );
    return exported;
  }
  if (typeof exported !== "function" || isClass(exported))
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `Expected a built Skein application or an application builder function but got: ${describe(exported)}.`,
    );
  if (exported.length > 1)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      "Application builder functions should take exactly one parameter, an object containing the passed arguments.",
    );
  const built: unknown = await (exported as (args: unknown) => unknown)(structuredClone(args));
  if (!(built instanceof Application))
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `Application builder functions must return an \`Application\` returned from \`Deployment.bind()\`, but got: ${describe(built)}.`,
    );
  return built;
}

/** Walks the bind graph. A bound deployment that is used twice is one deployment; two of the same name are told apart by `_1`, `_2`, as in Ray. */
export async function graphOf(application: Application): Promise<Graph> {
  const nodes: GraphNode[] = [];
  const names = new Map<Application, string>();
  const taken = new Set<string>();
  const visit = (app: Application): string => {
    const known = names.get(app);
    if (known !== undefined) return known;
    if (names.size >= DEPLOYMENTS_MAX)
      throw new SkeinError("INVALID_ARGUMENT", `An application may have ${DEPLOYMENTS_MAX} deployments at most.`);
    const base = app.deployment.name;
    let name = base;
    for (let i = 1; taken.has(name); i++) name = `${base}_${i}`;
    taken.add(name);
    names.set(app, name);
    const callees = new Set<string>();
    const args = app.args.map((arg) =>
      replaceApplications(arg, (inner) => {
        const callee = visit(inner);
        callees.add(callee);
        return new HandlePlace(callee);
      }),
    );
    nodes.push({ name, target: app.deployment.target, options: app.deployment.wire, args, callees: [...callees] });
    return name;
  };
  const ingress = visit(application);
  const canonical = canonicalJson({
    ingress,
    deployments: nodes.map(({ name, options, args, callees }) => ({ name, options, args: args.map(shape), callees })),
  });
  return { ingress, nodes, hash: await sha256Hex(canonical) };
}

/** How the manifest lists a node. `usesEngine` is the builder's knowledge. */
export const graphEntry = (node: GraphNode, usesEngine: boolean): GraphDeployment => ({
  name: node.name,
  options: { ...node.options },
  callees: [...node.callees],
  reconfigurable: hasMethod(node.target, "reconfigure"),
  usesEngine,
});

function hasMethod(target: Servable, name: string): boolean {
  const holder: unknown = isClass(target) ? target.prototype : target;
  return typeof (holder as Record<string, unknown> | undefined)?.[name] === "function";
}

/** Applications may be nested in plain lists and objects. */
export function replaceApplications(value: unknown, replace: (application: Application) => unknown): unknown {
  return mapPlain(value, (item) => (item instanceof Application ? { replaced: replace(item) } : undefined));
}

/** Puts what `handle` makes where the handles go. */
export const placeHandles = (args: readonly unknown[], handle: (deployment: string) => unknown): unknown[] =>
  args.map((arg) =>
    mapPlain(arg, (item) => (item instanceof HandlePlace ? { replaced: handle(item.deployment) } : undefined)),
  );

function mapPlain(value: unknown, replace: (item: unknown) => { replaced: unknown } | undefined): unknown {
  const replaced = replace(value);
  if (replaced !== undefined) return replaced.replaced;
  if (Array.isArray(value)) return value.map((item) => mapPlain(item, replace));
  if (isPlain(value))
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapPlain(item, replace)]));
  return value;
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" &&
  value !== null &&
  (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null);

/** What of an argument goes into the hash: data by value, anything else by its kind. */
function shape(value: unknown): unknown {
  if (value instanceof HandlePlace) return { handle: value.deployment };
  if (Array.isArray(value)) return value.map(shape);
  if (isPlain(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shape(item)]));
  if (value === null || ["string", "number", "boolean"].includes(typeof value)) return value;
  return { kind: typeof value === "object" ? (value.constructor?.name ?? "object") : typeof value };
}
