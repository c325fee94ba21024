/** `skein build`: a configuration file to start from, made of what the code of some applications says. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { EXIT } from "../../protocol/errors.ts";
import { importPath as importPathSchema } from "../../protocol/config.ts";
import type { Manifest } from "../../protocol/artefact.ts";
import { build } from "../build.ts";
import { CommandFailed } from "../failure.ts";
import type { Shell } from "../shell.ts";
import { spacedYaml } from "../yaml.ts";

export interface BuildFlags {
  readonly appDir?: string;
  readonly outputPath?: string;
  readonly grpcServicerFunctions?: readonly string[];
}

export async function buildConfig(importPaths: readonly string[], flags: BuildFlags, shell: Shell): Promise<number> {
  const wrong = importPaths.map((path) => importPathSchema.safeParse(path)).find((result) => !result.success);
  if (wrong?.error !== undefined)
    throw new CommandFailed(EXIT.usage, wrong.error.issues[0]?.message ?? "Not an import path.");
  const manifests: Manifest[] = [];
  try {
    for (const importPath of importPaths) {
      shell.progress.show(`Building ${importPath}`);
      const built = await build({ appDir: resolve(shell.cwd, flags.appDir ?? "."), importPath, args: {} }, shell.stop);
      manifests.push(built.manifest);
      await built.dispose();
    }
  } finally {
    shell.progress.clear();
  }
  const text = `# This file was generated using the \`skein build\` command.\n\n${spacedYaml(skeleton(manifests, flags.grpcServicerFunctions ?? []))}`;
  shell.note("The auto-generated application names default to `app1`, `app2`, ... etc. Rename as necessary.");
  if (flags.outputPath === undefined) shell.out(text);
  else await writeFile(resolve(shell.cwd, flags.outputPath), text);
  return EXIT.ok;
}

/** The configuration that serves these applications as their code says. One application gets the prefix `/`, as in Ray. */
export function skeleton(
  manifests: readonly Manifest[],
  grpcServicerFunctions: readonly string[],
): Record<string, unknown> {
  return {
    proxy_location: "EveryNode",
    http_options: { host: "127.0.0.1", port: 8000 },
    grpc_options: { port: 9000, grpc_servicer_functions: [...grpcServicerFunctions], enable_reflection: true },
    logging_config: {
      encoding: "TEXT",
      log_level: "INFO",
      logs_dir: null,
      enable_access_log: true,
      additional_log_standard_attrs: [],
    },
    applications: manifests.map((manifest, i) => ({
      name: `app${i + 1}`,
      route_prefix: manifests.length === 1 ? "/" : `/app${i + 1}`,
      import_path: manifest.importPath,
      runtime_env: {},
      deployments: manifest.graph.deployments.map((deployment) => ({ name: deployment.name, ...deployment.options })),
    })),
  };
}
