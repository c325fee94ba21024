/** A shell without a terminal: what was written is kept, the clock is moved by `sleep`. */
import { lightFetch } from "../../cli/fetch.ts";
import { Progress } from "../../cli/progress.ts";
import type { Shell } from "../../cli/shell.ts";

export interface FakeShell extends Shell {
  stdout: string;
  stderr: string;
  readonly stopping: AbortController;
  readonly killing: AbortController;
}

/** `sleep` takes no time and `every` never comes unless `realTime`. */
export function fakeShell(
  options: Partial<Pick<Shell, "env" | "cwd" | "dataDirectory" | "fetch" | "stdin">> & { realTime?: boolean } = {},
): FakeShell {
  const stopping = new AbortController();
  const killing = new AbortController();
  let now = 0;
  const shell: FakeShell = {
    stdout: "",
    stderr: "",
    stopping,
    killing,
    out: (text) => void (shell.stdout += text),
    note: (line) => void (shell.stderr += `${line}\n`),
    progress: new Progress(
      (text) => void (shell.stderr += text),
      false,
      () => now,
    ),
    env: options.env ?? {},
    cwd: options.cwd ?? "/nowhere",
    dataDirectory: options.dataDirectory ?? "/nowhere/data",
    stdin: options.stdin ?? process.stdin,
    terminal: false,
    fetch: options.fetch ?? lightFetch,
    now: () => (options.realTime === true ? performance.now() : now),
    sleep: async (ms, signal = stopping.signal) => {
      now += ms;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, options.realTime === true ? ms : 0);
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
        if (signal.aborted) resolve();
      });
    },
    every: (ms, callback) => {
      if (options.realTime !== true) return () => {};
      const timer = setInterval(callback, ms).unref();
      return () => clearInterval(timer);
    },
    stop: stopping.signal,
    kill: killing.signal,
  };
  return shell;
}
