/** Plants one bug of the bank into this process: the file's text is changed while it is loaded, before anything else of it runs. */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import type { Bug } from "./bank.ts";

const ROOT = new URL("../../", import.meta.url);

/** White space in `text` stands for any. Throws unless it occurs exactly once. */
export function mutated(source: string, bug: Bug): string {
  const pattern = bug.text
    .trim()
    .split(/\s+/)
    .map((word) => word.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join("\\s+");
  const found = source.match(new RegExp(pattern, "g"))?.length ?? 0;
  if (found !== 1)
    throw new Error(`The bug "${bug.name}" is out of date: its text occurs ${found} times in ${bug.file}, not once.`);
  return source.replace(new RegExp(pattern), () => bug.replacement);
}

export const sourceOf = (bug: Bug): string => readFileSync(new URL(bug.file, ROOT), "utf8");

/** Call before the file is imported. */
export function plant(bug: Bug): void {
  const target = new URL(bug.file, ROOT).href;
  const source = mutated(readFileSync(fileURLToPath(target), "utf8"), bug);
  registerHooks({
    load: (url, context, next) =>
      url === target ? { format: "module-typescript", source, shortCircuit: true } : next(url, context),
  });
}
