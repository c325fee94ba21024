import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { meshOrigin } from "../../../worker/node/control-socket.ts";
import { hostIdOf, takeHome } from "../../../worker/node/identity.ts";

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "skein-id-"));
  folders.push(path);
  return path;
}

/** In a process of its own, whose death lets go of the lock. */
function inProcess(
  dataDir: string,
  mesh: string,
  time: number,
  keep = "",
): { workerId: string; incarnation: number; ticket: string | null; folder: string } {
  const module = new URL("../../../worker/node/identity.ts", import.meta.url).href;
  const code = `import { takeHome } from ${JSON.stringify(module)};
    const home = takeHome(${JSON.stringify(dataDir)}, ${JSON.stringify(mesh)}, ${time});
    if (${JSON.stringify(keep)}) home.keepTicket(${JSON.stringify(keep)});
    console.log(JSON.stringify(home));`;
  return JSON.parse(
    execFileSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" }),
  ) as ReturnType<typeof inProcess>;
}

describe("a worker's identity", () => {
  it("survives its process: same id, higher incarnation, its ticket, in a file for its owner only", () => {
    const dataDir = folder();
    const first = inProcess(dataDir, "http://a", 1000, "the ticket");
    const second = inProcess(dataDir, "http://a", 500);
    expect(second).toMatchObject({ workerId: first.workerId, incarnation: 1001, ticket: "the ticket" });
    expect(statSync(join(first.folder, "identity.json")).mode & 0o077).toBe(0);
  });

  it("takes no ticket of one mesh to another", () => {
    const dataDir = folder();
    inProcess(dataDir, "http://a", 1000, "the ticket");
    expect(inProcess(dataDir, "http://b", 2000).ticket).toBeNull();
  });

  it("is not shared by two that run at one time", () => {
    const dataDir = folder();
    const here = takeHome(dataDir, "http://a", 1);
    const there = inProcess(dataDir, "http://a", 1);
    expect(there.workerId).not.toBe(here.workerId);
    expect(there.folder).not.toBe(here.folder);
    expect(readFileSync(join(here.folder, "identity.json"), "utf8")).toContain(here.workerId);
  });

  it("has a host's id in common with others of its data directory", () => {
    const dataDir = folder();
    expect(hostIdOf(dataDir)).toBe(hostIdOf(dataDir));
    expect(hostIdOf(dataDir)).not.toBe(hostIdOf(folder()));
  });

  it("knows a mesh's URL when it sees one", () => {
    expect(meshOrigin("ws://h:8266/control")).toBe("http://h:8266");
    expect(meshOrigin("https://h/")).toBe("https://h");
    for (const bad of ["h:8266", "ftp://h", "", "nonsense"])
      expect(() => meshOrigin(bad)).toThrow(/is not the URL of a mesh/);
  });
});
