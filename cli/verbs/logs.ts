/** `skein logs`: what the replicas of an application or deployment have written. */
import { EXIT } from "../../protocol/errors.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { CommandFailed, Interrupted } from "../failure.ts";
import { nearest } from "../suggest.ts";
import type { Shell } from "../shell.ts";

export async function logs(
  target: string,
  flags: AddressOptions & { readonly follow?: boolean },
  shell: Shell,
): Promise<number> {
  const [app = "", deployment, ...more] = target.split("/");
  if (app === "" || deployment === "" || more.length > 0)
    throw new CommandFailed(EXIT.usage, `Expected <app> or <app>/<deployment>, got "${target}".`);
  const client = await connect(flags, shell);
  const { applications } = await client.status();
  const found = applications[app];
  if (found === undefined) throw missing("application", app, Object.keys(applications));
  if (deployment !== undefined && found.deployments[deployment] === undefined)
    throw missing("deployment", deployment, Object.keys(found.deployments));
  const decoder = new TextDecoder();
  try {
    for await (const bytes of await client.logs(target, flags.follow === true))
      shell.out(decoder.decode(bytes, { stream: true }));
  } catch (error) {
    if (shell.stop.aborted) throw new Interrupted();
    throw error;
  }
  return EXIT.ok;
}

function missing(what: string, name: string, known: readonly string[]): CommandFailed {
  const near = nearest(name, known);
  const hint =
    near !== undefined
      ? `Did you mean "${near}"?`
      : known.length === 0
        ? "There is none."
        : `There are: ${known.join(", ")}.`;
  return new CommandFailed(EXIT.notFound, `No ${what} "${name}". ${hint}`);
}
