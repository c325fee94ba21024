/** The one function of tar-fs that the tests use; the package has no types of its own. */
declare module "tar-fs" {
  import type { Writable } from "node:stream";
  /** Writes the entries of a tar stream below `directory`, which is created when missing. */
  export function extract(directory: string): Writable;
}
