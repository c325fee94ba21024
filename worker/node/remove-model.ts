/** Takes a model off this disk, with what was converted from it. */
import { rm } from "node:fs/promises";
import { preparedCopies } from "../../engine/node/prepared-cache.ts";
import { findStored, removeStored } from "../models/stored-models.ts";
import { preparedFolder } from "./data-directory.ts";

/**
 * `name` is a canonical one. Gives how many conversions went with it; undefined where there is no such model. What a running replica has
 * open stays readable to it. Another name of the same content is converted again when it is next used.
 */
export async function removeModel(dataDir: string, name: string): Promise<number | undefined> {
  const stored = await findStored(dataDir, name);
  if (stored === undefined) return undefined;
  // What can't be read any more was never converted, or can't be told from others: it still can be removed.
  const copies = await preparedCopies(preparedFolder(dataDir), stored.path).catch(() => []);
  await removeStored(dataDir, name);
  for (const copy of copies) await rm(copy, { recursive: true, force: true });
  return copies.length;
}
