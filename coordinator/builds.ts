/** Builds for a bare PUT: the builder as a child process, one at a time, its result (or its words) as an event. */
import { fileURLToPath } from "node:url";
import { manifestSchema } from "../protocol/artefact.ts";
import type { ApplicationConfig } from "../protocol/config.ts";
import { SkeinError } from "../protocol/errors.ts";
import type { AppName } from "../protocol/ids.ts";
import type { BuildRequest, BuildResult } from "../protocol/local.ts";
import { childReady, spawnChild } from "../protocol/node/parent.ts";
import type { Event } from "./events.ts";

/** A build that takes longer, ms, hangs: user code runs in it. */
const BUILD_WITHIN_MS = 120_000;
const BUILDER = fileURLToPath(new URL("../worker/node/builder/main.ts", import.meta.url));

export type Build = (request: BuildRequest) => Promise<BuildResult>;

export class Builds {
  readonly #build: Build;
  readonly #place: { readonly appDir: string; readonly blobs: string };
  readonly #tell: (event: Event) => void;
  #last: Promise<void> = Promise.resolve();

  constructor(build: Build, place: { appDir: string; blobs: string }, tell: (event: Event) => void) {
    this.#build = build;
    this.#place = place;
    this.#tell = tell;
  }

  /** Builds take a core and memory: one after the other. */
  start(app: AppName, generation: number, config: ApplicationConfig, grpcServicers: readonly string[]): void {
    this.#last = this.#last.then(async () => {
      try {
        const result = await this.#build({
          ...this.#place,
          importPath: config.import_path,
          args: config.args,
          grpcServicers,
        });
        const missing = result.grpcMissing[0];
        // Here all applications have the same folder: what one hasn't, none has.
        if (missing !== undefined)
          throw new SkeinError(
            "INVALID_ARGUMENT",
            `grpc_options.grpc_servicer_functions: ${missing.entry}: ${missing.why}`,
          );
        this.#tell({
          type: "built",
          app,
          generation,
          artefact: result.artefact,
          manifest: manifestSchema.parse(result.manifest),
        });
      } catch (error) {
        this.#tell({
          type: "buildFailed",
          app,
          generation,
          message: `Deploying app '${app}' failed with exception:\n${error instanceof Error ? error.message : String(error)}`,
        });
      }
    });
  }
}

/** Runs the builder; it ends with the result, with an error, with this process, or when it takes too long. */
export const buildInChild: Build = async (request) => {
  const child = spawnChild(BUILDER, { output: "inherit", userCode: true });
  const timer = setTimeout(() => child.kill("SIGKILL"), BUILD_WITHIN_MS);
  try {
    return await childReady<BuildRequest, BuildResult>(child, request);
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
};
