/** A disk that is really full, while a model comes: a tiny file system in a mount namespace of its own. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CONTENT, startHub } from "./sources.ts";

const run = promisify(execFile);
/** Root needs no user namespace, and may not be allowed one. */
const NAMESPACE = process.getuid?.() === 0 ? ["-m"] : ["-Urm"];

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "skein-full-"))));
afterEach(() => rm(folder, { recursive: true, force: true }));

test("what has come stays, and the next call goes on when there is just room for the rest", async (context) => {
  const isPossible = await run("unshare", [...NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", folder]).then(
    () => true,
    () => false,
  );
  if (!isPossible) context.skip("no mount namespaces here");
  await using hub = await startHub();
  const program = fileURLToPath(new URL("fetch-tiny-main.ts", import.meta.url));
  const script = `set -e
mount -t tmpfs -o size=200k tmpfs "$1"
"$2" "$3" "$1" "$4" tiny --no-look 2>"$1.err" && exit 9
grep -h full "$1.err"
stat -c %s "$1"/models/partial/*.part
mount -o remount,size=340k "$1"
"$2" "$3" "$1" "$4" tiny
echo
stat -c %s "$1"/models/sha256/*.gguf`;
  const { stdout } = await run("unshare", [
    ...NAMESPACE,
    "sh",
    "-c",
    script,
    "sh",
    folder,
    process.execPath,
    program,
    hub.endpoint,
  ]).finally(() => rm(`${folder}.err`, { force: true }));
  const [failure, kept, path, bytes] = stdout.trim().split("\n").slice(-4);
  expect(failure).toContain("is full: free some space");
  expect(Number(kept)).toBeGreaterThan(0);
  expect(Number(kept)).toBeLessThan(CONTENT.length);
  expect(path).toMatch(/\.gguf$/);
  expect(Number(bytes)).toBe(CONTENT.length);
  expect(hub.ranges).toEqual(["bytes=0-", `bytes=${kept}-`]);
});
