/**
 * Builds applications on this machine and uploads what was made. User code runs only in the builder, a child process.
 * Knows the builder's request and the blobs; knows nothing of how an application is deployed.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { childReady, spawnChild } from "../protocol/node/parent.ts";
import type { BuildRequest, BuildResult } from "../protocol/local.ts";
import { CommandFailed, Interrupted } from "./failure.ts";
import type { Client } from "./client.ts";
import { EXIT } from "../protocol/errors.ts";

const builder = new URL("../worker/node/builder/main.ts", import.meta.url);

/** User code that is imported may loop for ever, ms. */
const BUILD_WITHIN_MS = 120_000;

export interface Built extends BuildResult {
  /** Folder of the blobs, removed by `dispose`. */
  readonly folder: string;
  dispose(): Promise<void>;
}

/** Errors: 1 the code can't be built (the message has the place), 7 it didn't end, 130 interrupted. The child is gone in any case. */
export async function build(request: Omit<BuildRequest, "blobs">, stop: AbortSignal): Promise<Built> {
  const folder = await mkdtemp(join(tmpdir(), "skein-build-"));
  const dispose = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const child = spawnChild(builder, { output: "pipe", userCode: true });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (bytes: Buffer) => (said = (said + bytes.toString("utf8")).slice(-4_000)));
  const limit = AbortSignal.timeout(BUILD_WITHIN_MS);
  const ended = AbortSignal.any([stop, limit]);
  const end = (): void => void child.kill("SIGKILL");
  ended.addEventListener("abort", end, { once: true });
  try {
    if (ended.aborted) throw new Interrupted();
    const result = await childReady<BuildRequest, BuildResult>(child, { ...request, blobs: folder });
    return { ...result, folder, dispose };
  } catch (error) {
    await dispose();
    if (stop.aborted) throw new Interrupted();
    if (limit.aborted)
      throw new CommandFailed(
        EXIT.timeout,
        `Importing ${request.importPath} did not end within ${BUILD_WITHIN_MS / 1000} s: does the module wait for something at its top level?`,
      );
    if (error instanceof Error && /ended before it was ready/.test(error.message))
      throw new CommandFailed(
        EXIT.failed,
        `Importing ${request.importPath} ended the builder.${said.trim() === "" ? "" : `\n${said.trim()}`}`,
        { cause: error },
      );
    throw error;
  } finally {
    ended.removeEventListener("abort", end);
    child.kill("SIGKILL");
  }
}

/** Uploads what the coordinator doesn't have yet. Returns the number of bytes sent. */
export async function upload(built: Built, client: Client, onBytes: (sent: number) => void): Promise<number> {
  let sent = 0;
  for (const sha256 of new Set([...built.blobs, built.artefact])) {
    if (await client.hasBlob(sha256)) continue;
    const bytes = await readFile(join(built.folder, sha256));
    await client.putBlob(sha256, bytes);
    sent += bytes.length;
    onBytes(sent);
  }
  return sent;
}
