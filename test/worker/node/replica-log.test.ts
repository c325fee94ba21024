import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { LOG_FILES_MAX, LOG_LINE_MAX, LOG_PENDING_MAX } from "../../../worker/node/limits.ts";
import { LogFolder } from "../../../worker/node/log-folder.ts";
import { olderHalf, readTail, ReplicaLog } from "../../../worker/node/replica-log.ts";

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "skein-log-"));
  folders.push(path);
  return path;
}
function log(max?: number) {
  const path = join(folder(), "x.log");
  return { path, log: new ReplicaLog(path, { time: () => 0, soon: () => {} }, max) };
}
const TIME = "1970-01-01T00:00:00.000Z";

describe("a replica's log", () => {
  it("joins pieces to lines, each with time and stream", () => {
    const { path, log: l } = log();
    l.write("out", "a");
    l.write("err", "x\ny");
    l.write("out", "b\r\nc");
    l.end();
    expect(readFileSync(path, "utf8")).toBe(`${TIME} err x\n${TIME} out ab\n${TIME} out c\n${TIME} err y\n`);
    expect(statSync(path).mode & 0o077).toBe(0);
  });

  it("stays within its bound, with the newest half whole", () => {
    const max = 20_000;
    const { path, log: l } = log(max);
    for (let i = 0; i < 5_000; i += 1) {
      l.line("out", `line ${i}`);
      if (i % 20 === 0) l.flush();
    }
    l.flush();
    expect(statSync(path).size + statSync(olderHalf(path)).size).toBeLessThanOrEqual(max);
    const lines = readTail(path, max).toString().trimEnd().split("\n");
    const numbers = lines.map((line) => Number(line.split(" ").at(-1)));
    expect(numbers.at(-1)).toBe(4_999);
    expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i));
    expect(lines.length * lines[0]!.length).toBeGreaterThan(max / 3);
  });

  it("drops and counts what comes too fast, and cuts endless lines", () => {
    const { path, log: l } = log();
    for (let i = 0; i < 20; i += 1) l.write("out", `${"x".repeat(LOG_PENDING_MAX / 10)}\n`);
    l.flush();
    const text = readFileSync(path, "utf8");
    expect(text.length).toBeLessThan(LOG_PENDING_MAX + 200);
    expect(text).toMatch(/skein \d+ lines were dropped here/);
    l.write("out", "y".repeat(3 * LOG_LINE_MAX));
    l.end();
    expect(
      readFileSync(path, "utf8")
        .split("\n")
        .filter((line) => line.includes(" yyy")),
    ).toHaveLength(3);
  });

  it("can be followed from its tail on without gap or repetition", () => {
    const { log: l } = log();
    for (let i = 0; i < 10; i += 1) l.line("out", `before ${i}`);
    let followed = "";
    let ended = false;
    const { tail, stop } = l.follow(100, (text) => (followed += text));
    l.onEnd(() => (ended = true));
    expect(tail.toString()).toBe(`${TIME} out before 8\n${TIME} out before 9\n`.slice(-100));
    l.line("out", "after");
    l.end();
    expect(followed).toBe(`${TIME} out after\n`);
    expect(ended).toBe(true);
    stop();
    l.line("out", "unheard");
    l.flush();
    expect(followed).not.toContain("unheard");
  });

  it("lies in a folder that ids can't leave and that doesn't grow without end", () => {
    const path = folder();
    const logs = new LogFolder(path, { time: () => 0, soon: () => {} });
    expect(logs.pathOf("../../etc#passwd#x").startsWith(`${path}/`)).toBe(true);
    expect(logs.pathOf("../../etc#passwd#x").slice(path.length + 1)).not.toContain("/");
    expect(logs.pathOf("a#b")).not.toBe(logs.pathOf("a_b"));
    for (let i = 0; i < LOG_FILES_MAX + 10; i += 1) writeFileSync(join(path, `old-${i}.log`), "");
    const open = logs.open("r");
    open.line("out", "x");
    logs.close("r");
    expect(readTail(logs.pathOf("r"), 100).toString()).toContain("out x");
    expect(logs.opened("r")).toBeUndefined();
  });
});
