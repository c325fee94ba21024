/** `skein version`. */
import { readFile } from "node:fs/promises";
import { EXIT } from "../../protocol/errors.ts";
import type { Shell } from "../shell.ts";

export async function version(flags: { readonly json?: boolean }, shell: Shell): Promise<number> {
  const { version: skein } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  const facts = { skein, node: process.versions.node, platform: `${process.platform}-${process.arch}` };
  shell.out(
    flags.json === true ? `${JSON.stringify(facts)}\n` : `skein ${skein} (Node ${facts.node}, ${facts.platform})\n`,
  );
  return EXIT.ok;
}
