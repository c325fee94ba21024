/**
 * One run of the command: arguments in, exit code out. Turns what commander says and what verbs throw into messages and exit codes.
 */
import { CommanderError, type Command } from "commander";
import { EXIT } from "../protocol/errors.ts";
import { explain } from "./failure.ts";
import { program } from "./program.ts";
import type { Shell } from "./shell.ts";

/** `args` without node and script. Never throws. */
export async function runCommandLine(args: readonly string[], shell: Shell): Promise<number> {
  let verb: ((shell: Shell) => Promise<number>) | undefined;
  const skein = program((chosen) => (verb = chosen));
  prepare(skein, shell);
  try {
    await skein.parseAsync([...args], { from: "user" });
    return verb === undefined ? EXIT.ok : await verb(shell);
  } catch (error) {
    shell.progress.clear();
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const { exit, message } = explain(error);
    if (message !== "") shell.note(message);
    if (shell.env["SKEIN_DEBUG"] && error instanceof Error) shell.note(error.stack ?? "");
    return exit;
  }
}

/** Subcommands don't inherit these. */
function prepare(command: Command, shell: Shell): void {
  command.exitOverride().configureOutput({
    writeOut: shell.out,
    writeErr: (text) => shell.note(text.replace(/\n$/, "")),
    outputError: (text, write) =>
      write(`${text.trimEnd().replace(/^error: /, `${pathOf(command)}: `)}\nSee \`${pathOf(command)} --help\`.\n`),
  });
  for (const child of command.commands) prepare(child, shell);
}

const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
