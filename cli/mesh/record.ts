/**
 * The file by which a running mesh on this machine is found: `mesh.json` in the data directory, written when the mesh is up.
 * It holds addresses and the place of the admin token, never a secret. A file that a killed mesh left behind does no harm: readers ask the address.
 */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";

const recordSchema = z.object({
  operatorsUrl: z.string(),
  meshUrl: z.string(),
  adminTokenFile: z.string(),
  pid: z.number(),
});
export type MeshRecord = z.output<typeof recordSchema>;

const fileIn = (dataDir: string): string => join(dataDir, "mesh.json");

/** Undefined when there is none, or none that can be read. */
export async function readMeshRecord(dataDir: string): Promise<MeshRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(fileIn(dataDir), "utf8")));
  } catch {
    return undefined;
  }
}

export async function writeMeshRecord(dataDir: string, record: MeshRecord): Promise<void> {
  const temporary = `${fileIn(dataDir)}.${record.pid}`;
  await writeFile(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  await rename(temporary, fileIn(dataDir));
}

export const removeMeshRecord = (dataDir: string): Promise<void> => rm(fileIn(dataDir), { force: true });
