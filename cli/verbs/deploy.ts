/** `skein deploy`: sends the whole desired state (Ray's declarative deploy) to a running mesh and returns before the applications run. */
import { EXIT } from "../../protocol/errors.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { Deployer } from "../deployer.ts";
import { Interrupted } from "../failure.ts";
import { follow } from "../follow.ts";
import type { Shell } from "../shell.ts";
import { readTarget, type TargetOptions } from "../target.ts";

export interface DeployFlags extends AddressOptions, TargetOptions {
  readonly appDir?: string;
  /** Wait until everything runs. */
  readonly wait?: boolean;
  /** Check and build, send nothing. */
  readonly dryRun?: boolean;
}

export async function deploy(text: string, args: readonly string[], flags: DeployFlags, shell: Shell): Promise<number> {
  const { progress, note } = shell;
  const read = await readTarget(text, args, flags, shell.cwd);
  // One import path alone is a configuration with one application, as in Ray.
  const target =
    read.kind === "config"
      ? read
      : { ...read, application: { ...read.application, runtime_env: read.application.runtime_env ?? {} } };
  if (target.kind === "config") target.warnings.forEach(note);
  const deployer = new Deployer(target, flags.appDir, shell);
  const client = await connect(flags, shell);
  try {
    // Asked first: to build for a mesh that isn't there is a waste of the person's time.
    if (flags.dryRun !== true) await client.status();
    progress.show("Building");
    const built = await deployer.build();
    if (flags.dryRun === true) {
      await Promise.all(built.map((one) => one.built.dispose()));
      progress.clear();
      note(`${text} is valid; nothing was deployed.`);
      return EXIT.ok;
    }
    await deployer.deploy(built, client, true);
    if (flags.wait === true) await follow(deployer.names, client, shell, (line) => progress.show(line));
  } finally {
    progress.clear();
  }
  if (shell.stop.aborted) throw new Interrupted();
  note(
    flags.wait === true
      ? "All applications are running."
      : "Sent deploy request successfully.\n * Use `skein status` to check applications' statuses.\n * Use `skein config` to see the current application config(s).",
  );
  return EXIT.ok;
}
