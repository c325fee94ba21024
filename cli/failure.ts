/**
 * How a command ends when it can't do its work: one sentence that says what, where and what to do instead, and an exit code.
 * Knows the error codes of the mesh and of the operating system; knows no verb.
 */
import { EXIT, OUTSIDE, SkeinError } from "../protocol/errors.ts";
import { ChildFailed } from "../protocol/node/parent.ts";

export class CommandFailed extends Error {
  /** One of `EXIT`. */
  readonly exit: number;
  constructor(exit: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "CommandFailed";
    this.exit = exit;
  }
}

/** A person (or a parent) stopped the command. Nothing to say. */
export class Interrupted extends CommandFailed {
  constructor() {
    super(EXIT.interrupted, "");
    this.name = "Interrupted";
  }
}

const SYSTEM: Readonly<Record<string, (path: string) => [exit: number, sentence: string]>> = {
  ENOSPC: (path) => [
    EXIT.failed,
    `The disk is full${at(path)}: free some space (a model takes a few hundred megabytes), then repeat the command.`,
  ],
  EDQUOT: (path) => [EXIT.failed, `The disk quota is used up${at(path)}: free some space, then repeat the command.`],
  ENOENT: (path) => [EXIT.notFound, `There is no such file or folder: ${path || "(no path given)"}.`],
  EACCES: (path) => [
    EXIT.notAllowed,
    `Not allowed to use ${path || "a file"}: change its owner or mode, or choose another folder.`,
  ],
  EPERM: (path) => [
    EXIT.notAllowed,
    `Not allowed to use ${path || "a file"}: change its owner or mode, or choose another folder.`,
  ],
  EROFS: (path) => [
    EXIT.notAllowed,
    `The file system is read-only${at(path)}: set SKEIN_DATA_DIR to a folder that can be written.`,
  ],
  EISDIR: (path) => [EXIT.notFound, `${path || "This"} is a folder, expected a file.`],
  EMFILE: () => [EXIT.failed, "Too many open files: raise the limit with `ulimit -n 4096`, then repeat the command."],
};

const at = (path: string): string => (path === "" ? "" : ` (${path})`);

/** Exit code and sentence for anything that was thrown. Unknown errors keep their own message. */
export function explain(thrown: unknown): { exit: number; message: string } {
  if (thrown instanceof CommandFailed) return { exit: thrown.exit, message: thrown.message };
  if (thrown instanceof ChildFailed) return { exit: thrown.exit, message: thrown.message };
  if (thrown instanceof SkeinError) return { exit: OUTSIDE[thrown.code].exit, message: thrown.message };
  if (!(thrown instanceof Error)) return { exit: EXIT.failed, message: String(thrown) };
  const { code, path } = thrown as NodeJS.ErrnoException;
  const known = code === undefined ? undefined : SYSTEM[code]?.(path ?? "");
  if (known !== undefined) return { exit: known[0], message: known[1] };
  return { exit: EXIT.failed, message: thrown.message || thrown.name };
}
