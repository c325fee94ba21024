/**
 * What a person asks to run or deploy: a configuration file, or `module:export` with key=value arguments. Reads the file; builds nothing.
 */
import { readFile, stat } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve } from "node:path";
import { parse } from "yaml";
import { EXIT } from "../protocol/errors.ts";
import {
  importPath as importPathSchema,
  routePrefix as routePrefixSchema,
  type DeployConfig,
  type DeployInput,
} from "../protocol/config.ts";
import { DEPLOY_BODY_MAX } from "../protocol/limits.ts";
import { CommandFailed } from "./failure.ts";
import { readConfig } from "./config/read.ts";

export type ApplicationInput = DeployInput["applications"][number];

export type Target =
  | {
      readonly kind: "config";
      readonly file: string;
      readonly input: DeployInput;
      readonly config: DeployConfig;
      readonly warnings: readonly string[];
    }
  | { readonly kind: "import"; readonly application: ApplicationInput };

export interface TargetOptions {
  readonly name?: string;
  readonly routePrefix?: string;
  /** YAML file that holds a runtime_env. */
  readonly runtimeEnv?: string;
  readonly runtimeEnvJson?: Readonly<Record<string, unknown>>;
  readonly workingDir?: string;
}

/** Reads and checks the target. Errors: 2 usage, 3 bad configuration, 4 no such file. */
export async function readTarget(
  text: string,
  args: readonly string[],
  options: TargetOptions,
  cwd: string,
): Promise<Target> {
  return isConfigFile(text)
    ? configTarget(text, args, options, cwd)
    : importTarget(text, args, options, await runtimeEnvOf(options, cwd));
}

const isConfigFile = (text: string): boolean => /\.(ya?ml|json)$/i.test(text);

async function configTarget(
  text: string,
  args: readonly string[],
  options: TargetOptions,
  cwd: string,
): Promise<Target> {
  if (args.length > 0)
    throw new CommandFailed(
      EXIT.usage,
      `Arguments (${args.join(" ")}) go with module:export; in ${text} they belong under \`args\` of the application.`,
    );
  if (
    options.name !== undefined ||
    options.routePrefix !== undefined ||
    options.runtimeEnv !== undefined ||
    options.runtimeEnvJson !== undefined ||
    options.workingDir !== undefined
  )
    throw new CommandFailed(
      EXIT.usage,
      `--name, --route-prefix, --runtime-env and --working-dir go with module:export; ${text} says these for each application.`,
    );
  const file = resolve(cwd, text);
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) throw new CommandFailed(EXIT.notFound, `There is no file ${file}.`);
  if (!found.isFile()) throw new CommandFailed(EXIT.notFound, `${file} is not a file.`);
  if (found.size > DEPLOY_BODY_MAX)
    throw new CommandFailed(EXIT.badConfig, `${text} has ${found.size} bytes; the limit is ${DEPLOY_BODY_MAX}.`);
  const shown = isAbsolute(text) ? text : relative(cwd, file);
  const read = readConfig(await readFile(file, "utf8"), shown);
  if (read.errors !== undefined) throw new CommandFailed(EXIT.badConfig, read.errors.join("\n\n"));
  return { kind: "config", file, input: read.input, config: read.config, warnings: read.warnings };
}

function importTarget(
  text: string,
  args: readonly string[],
  options: TargetOptions,
  runtimeEnv: Record<string, unknown> | undefined,
): Target {
  const parsed = importPathSchema.safeParse(text);
  if (!parsed.success)
    throw new CommandFailed(EXIT.usage, parsed.error.issues[0]?.message ?? `Not an import path: "${text}".`);
  const values = readArguments(args);
  const prefix = options.routePrefix ?? "/";
  const checked = routePrefixSchema.safeParse(prefix);
  if (!checked.success)
    throw new CommandFailed(EXIT.usage, checked.error.issues[0]?.message ?? `Not a route prefix: "${prefix}".`);
  return {
    kind: "import",
    application: {
      name: options.name ?? "default",
      route_prefix: prefix,
      import_path: text,
      ...(runtimeEnv === undefined ? {} : { runtime_env: runtimeEnv }),
      ...(args.length === 0 ? {} : { args: values }),
    },
  };
}

async function runtimeEnvOf(options: TargetOptions, cwd: string): Promise<Record<string, unknown> | undefined> {
  const { runtimeEnv: file, runtimeEnvJson: given, workingDir } = options;
  if (file === undefined && given === undefined && workingDir === undefined) return undefined;
  const fromFile: unknown = file === undefined ? {} : parse(await readFile(resolve(cwd, file), "utf8"));
  if (typeof fromFile !== "object" || fromFile === null || Array.isArray(fromFile))
    throw new CommandFailed(EXIT.badConfig, `${file}: expected a mapping with keys such as env_vars and working_dir.`);
  return { ...fromFile, ...given, ...(workingDir === undefined ? {} : { working_dir: workingDir }) };
}

/** `key=value` pairs as builders get them: values stay text, as in Ray. */
export function readArguments(args: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    args.map((arg) => {
      const at = arg.indexOf("=");
      if (at < 1)
        throw new CommandFailed(
          EXIT.usage,
          `Invalid application argument '${arg}', must be of the form '<key>=<val>'.`,
        );
      return [arg.slice(0, at), arg.slice(at + 1)];
    }),
  );
}

/** A working_dir on this machine; undefined for an address, or none. */
function localWorkingDir(application: ApplicationInput): string | undefined {
  const own = application.runtime_env?.["working_dir"];
  return typeof own === "string" && !own.includes("://") ? own : undefined;
}

/** As it is sent: a folder of this machine means nothing elsewhere, and what was in it is in the artefact. */
export function withoutLocalFolder(application: ApplicationInput): ApplicationInput {
  if (localWorkingDir(application) === undefined) return application;
  const { working_dir: _, ...runtimeEnv } = application.runtime_env ?? {};
  return { ...application, runtime_env: runtimeEnv };
}

/** Folder in which an application's modules are looked up: its own `working_dir`, else `--app-dir`, else the working directory (as in Ray). */
export function appDirOf(
  application: ApplicationInput,
  target: Target,
  appDir: string | undefined,
  cwd: string,
): string {
  const own = localWorkingDir(application);
  if (own !== undefined) return resolve(target.kind === "config" ? dirname(target.file) : cwd, own);
  return resolve(cwd, appDir ?? ".");
}
