/**
 * Takes a target (a configuration or one `module:export`) to a mesh: builds its applications, uploads, deploys, and again when sources change.
 * Knows builds and the REST client; knows nothing of who runs the mesh.
 */
import { watch, type FSWatcher } from "node:fs";
import { basename, dirname } from "node:path";
import { build, upload, type Built } from "./build.ts";
import type { Client } from "./client.ts";
import { EXIT } from "../protocol/errors.ts";
import { CommandFailed, explain, Interrupted } from "./failure.ts";
import type { Shell } from "./shell.ts";
import { appDirOf, withoutLocalFolder, type ApplicationInput, type Target } from "./target.ts";

/** An editor writes a file in several steps: wait this long for more, ms. */
const EDIT_SETTLES_MS = 100;

interface BuiltApplication {
  readonly application: ApplicationInput;
  readonly built: Built;
}

export class Deployer {
  readonly target: Target;
  readonly #appDir: string | undefined;
  readonly #shell: Shell;
  /** gRPC services of the mesh that is deployed to: an application that comes alone serves those whose files its folder has. */
  servicers: readonly string[] = [];
  /** Names of what this command has put there, or may have: an answer can get lost. Others' are not its to take away. */
  readonly placed = new Set<string>();
  #inputs: readonly string[] = [];

  constructor(target: Target, appDir: string | undefined, shell: Shell) {
    this.target = target;
    this.#appDir = appDir;
    this.#shell = shell;
  }

  get applications(): readonly ApplicationInput[] {
    return this.target.kind === "config" ? this.target.input.applications : [this.target.application];
  }

  get names(): string[] {
    return this.applications.map((app) => app.name ?? "default");
  }

  /** One after the other: a builder takes a core. */
  async build(): Promise<BuiltApplication[]> {
    const done: BuiltApplication[] = [];
    const grpcServicers =
      this.target.kind === "config" ? this.target.config.grpc_options.grpc_servicer_functions : this.servicers;
    for (const application of this.applications) {
      const appDir = appDirOf(application, this.target, this.#appDir, this.#shell.cwd);
      const built = await build(
        { appDir, importPath: application.import_path, args: application.args ?? {}, grpcServicers },
        this.#shell.stop,
      );
      done.push({ application, built });
    }
    if (this.target.kind === "config") await this.#checkServicers(done, grpcServicers, this.target.file);
    this.#inputs = done.flatMap((one) => one.built.inputs);
    return done;
  }

  /** Every service must be served by some application: its file is in that application's folder. */
  async #checkServicers(done: readonly BuiltApplication[], entries: readonly string[], file: string): Promise<void> {
    const missing = done.flatMap(({ built }) => built.grpcMissing);
    const lost = entries.find((entry) => missing.filter((one) => one.entry === entry).length === done.length);
    if (lost === undefined || done.length === 0) return;
    await Promise.all(done.map(({ built }) => built.dispose()));
    const why = new Set(missing.filter((one) => one.entry === lost).map((one) => one.why));
    throw new CommandFailed(
      EXIT.badConfig,
      `${file}: grpc_options.grpc_servicer_functions[${entries.indexOf(lost)}]: ${lost}\n${[...why].join("\n")}`,
    );
  }

  /**
   * Uploads and deploys. `whole`: the configuration is the whole desired state (Ray's declarative deploy: other declared applications go);
   * otherwise only the named applications are added or replaced. Warnings of the coordinator are noted.
   */
  async deploy(done: readonly BuiltApplication[], client: Client, whole: boolean): Promise<void> {
    const { progress, note } = this.#shell;
    const applications: ApplicationInput[] = [];
    for (const { application, built } of done) {
      await upload(built, client, (sent) => progress.show(`Uploading ${Math.ceil(sent / 1024)} KB`));
      await built.dispose();
      applications.push({ ...withoutLocalFolder(application), artefact: built.artefact });
    }
    progress.show("Deploying");
    for (const name of this.names) this.placed.add(name);
    if (whole)
      (await client.deploy({ ...(this.target.kind === "config" ? this.target.input : {}), applications })).forEach(
        note,
      );
    else
      for (const application of applications)
        (await client.putApplication(application.name ?? "default", application)).forEach(note);
  }

  /** Builds and deploys again whenever a source changes, until stopped. What can't be built is told; the old code serves on. */
  async reload(client: Client, whole: boolean): Promise<void> {
    const { note, sleep, stop } = this.#shell;
    while (!stop.aborted) {
      await changed(this.#inputs, stop);
      await sleep(EDIT_SETTLES_MS);
      if (stop.aborted) return;
      note("Sources changed: building again.");
      try {
        await this.deploy(await this.build(), client, whole);
        this.#shell.progress.clear();
        note("Deployed the new version.");
      } catch (error) {
        this.#shell.progress.clear();
        if (!(error instanceof Interrupted)) note(`${explain(error).message}\nWatching for the next change.`);
      }
    }
  }
}

/** Resolves at the first change of one of the files. Folders are watched, because editors replace files. */
function changed(files: readonly string[], stop: AbortSignal): Promise<void> {
  const folders = Map.groupBy(files, (file) => dirname(file));
  return new Promise((resolve) => {
    const watchers: FSWatcher[] = [];
    const done = (): void => {
      stop.removeEventListener("abort", done);
      watchers.forEach((watcher) => watcher.close());
      resolve();
    };
    stop.addEventListener("abort", done, { once: true });
    for (const [folder, inside] of folders) {
      const names = new Set(inside.map((file) => basename(file)));
      watchers.push(watch(folder, (_event, name) => (name === null || names.has(name)) && done()).on("error", done));
    }
  });
}
