/** Artefacts as the builder makes them, without code. */
import type { Manifest } from "../../protocol/artefact.ts";

const HEX = (n: number): string => n.toString(16).padStart(64, "0");

/** A manifest as the builder makes it; `version` stands for the code. */
export function manifest(
  options: Record<string, Record<string, unknown>> = { D: {} },
  version = 1,
  callees: Record<string, string[]> = {},
): Manifest {
  const names = Object.keys(options);
  return {
    schema: 1,
    importPath: "m:app",
    args: {},
    export: "app",
    bundles: { node: HEX(version), browser: HEX(version) },
    assets: {},
    graph: {
      hash: HEX(version),
      ingress: names.at(-1) ?? "D",
      deployments: names.map((name) => ({
        name,
        options: options[name] ?? {},
        callees: Object.hasOwn(callees, name) ? (callees[name] ?? []) : [],
        reconfigurable: true,
        usesEngine: false,
      })),
    },
  };
}
