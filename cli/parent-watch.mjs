/**
 * Preloaded (`--import`) into a process that must not outlive its parent: when the IPC channel ends, the process asks itself to
 * stop as if by SIGTERM. Knows only the channel. Runs in the main thread alone and hides from this process's own children.
 */
import { isMainThread } from "node:worker_threads";

if (isMainThread && process.connected) {
  // `fork()` hands on execArgv: without this every descendant would stop at its own `disconnect()`.
  const at = process.execArgv.findIndex((argument) => argument === import.meta.url);
  if (at > 0) process.execArgv.splice(at - 1, 2);
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
  process.channel?.unref();
}
