/**
 * Ends children that can't see their parent's death themselves, because user code keeps their main thread or they are stopped: a shell
 * that knows their process groups and reads a pipe whose other end the parent holds. When the parent dies, however, the kernel closes the
 * pipe. It costs 1 MB for all children of a process; a thread that watches costs 10 MB in each of them. On Windows libuv's job object does this.
 */
import { spawn, type ChildProcess } from "node:child_process";

const SCRIPT = `
trap '' HUP INT TERM
groups=
while read -r sign group; do
  kept=
  for other in $groups; do [ "$other" = "$group" ] || kept="$kept $other"; done
  groups=$kept
  [ "$sign" = - ] || groups="$groups $group"
done
for group in $groups; do kill -s KILL -- "-$group"; done`;

const groups = new Set<number>();
let shell: ChildProcess | null = null;

/** From now on the child, which leads a process group of its own, ends when this process does. */
export function endWithUs(child: ChildProcess): void {
  const { pid } = child;
  if (process.platform === "win32" || pid === undefined) return;
  groups.add(pid);
  if (shell === null) start();
  else tell("+", pid);
  child.once("exit", () => {
    groups.delete(pid);
    tell("-", pid);
    if (groups.size > 0) return;
    // The next child gets a new one.
    shell?.stdin?.end();
    shell = null;
  });
}

function start(): void {
  const started = spawn("/bin/sh", ["-c", SCRIPT], { stdio: ["pipe", "ignore", "ignore"], detached: true, env: {} });
  shell = started;
  started.unref();
  (started.stdin as unknown as { unref(): void }).unref();
  // Without a shell children still watch by themselves (parent.ts).
  started.on("error", () => {});
  started.stdin.on("error", () => {});
  started.on("exit", (_, signal) => {
    if (shell !== started) return;
    shell = null;
    // Somebody has ended it; one that can't run ends by itself, and would again.
    if (signal !== null) start();
  });
  for (const pid of groups) tell("+", pid);
}

const tell = (sign: "+" | "-", pid: number): void => void shell?.stdin?.write(`${sign} ${pid}\n`);
