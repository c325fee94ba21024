/** `skein shutdown`: takes every application away, as Ray's does. The mesh itself goes on, unless `--mesh` ends it too. */
import { createInterface } from "node:readline/promises";
import { EXIT } from "../../protocol/errors.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { CommandFailed } from "../failure.ts";
import type { Shell } from "../shell.ts";

export async function shutdown(
  flags: AddressOptions & { readonly yes?: boolean; readonly mesh?: boolean },
  shell: Shell,
): Promise<number> {
  const client = await connect(flags, shell);
  const before = await client.status();
  if (flags.yes !== true) {
    const ask = createInterface({ input: shell.stdin, output: process.stderr, terminal: false });
    const lines = ask[Symbol.asyncIterator]();
    shell.note(
      `This will shut down Serve on the mesh at ${client.address} and delete all applications there. Do you want to continue? [y/N]:`,
    );
    const answer = await lines.next();
    ask.close();
    if (answer.done === true || !/^y(es)?$/i.test(answer.value.trim()))
      throw new CommandFailed(EXIT.failed, "Aborted!");
  }
  if (flags.mesh === true) {
    await client.endMesh();
    shell.note(`Sent shutdown request; the mesh at ${client.address} ends.`);
    return EXIT.ok;
  }
  if (Object.keys(before.applications).length === 0) {
    shell.note(`No Serve instance found running on the mesh at ${client.address}.`);
    return EXIT.ok;
  }
  await client.deleteAll();
  shell.note("Sent shutdown request; applications will be deleted asynchronously.");
  return EXIT.ok;
}
