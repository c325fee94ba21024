/** How a child of the agent ended, in words, and how it is ended: its whole process group, by its own id. */
import type { ChildProcess } from "node:child_process";
import { LAST_WORDS_MAX } from "./limits.ts";

/** After the exit, output that is still in the pipes is awaited this long, ms: a grandchild could hold them open for ever. */
const DRAIN_MS = 200;

/** SIGKILL to the child and whatever it started. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    if (process.platform === "win32") child.kill("SIGKILL");
    else process.kill(-child.pid, "SIGKILL");
  } catch {
    // It was quicker.
  }
}

/** Calls back once, when the child has ended or could not be started, with a sentence. `lastWords`: the end of its error output. */
export function onEnd(child: ChildProcess, lastWords: () => string, ended: (how: string) => void): void {
  let told = false;
  const tell = (how: string): void => {
    if (told) return;
    told = true;
    const words = lastWords().trim().slice(-LAST_WORDS_MAX);
    ended(words === "" ? how : `${how}\n${words}`);
  };
  child.on("error", (error) => child.pid === undefined && tell(`The process could not be started: ${error.message}`));
  child.on("exit", (code, signal) => {
    const how = signal === null ? `The process ended with exit code ${code}.` : `The process was ended by ${signal}.`;
    const timer = setTimeout(() => tell(how), DRAIN_MS);
    child.on("close", () => {
      clearTimeout(timer);
      tell(how);
    });
  });
}
