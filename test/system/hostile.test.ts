/** Malformed messages and ambiguous HTTP against real processes, short; `npm run fuzz` runs many more. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attack, besieged, smuggled, type Doors } from "../fuzz/processes.ts";
import { PIPELINED } from "../fuzz/smuggling.ts";
import { seededRandom } from "../support/random.ts";
import { MemoryWatch } from "./memory.ts";
import type { SystemMesh } from "./mesh.ts";

const MESSAGES = 500;
const GROWTH_MAX_MIB = 100;

let mesh: SystemMesh;
let at: Doors;
beforeAll(async () => {
  ({ mesh, at } = await besieged(fileURLToPath(new URL("./apps", import.meta.url))));
});
afterAll(() => mesh?.stop());

describe("real processes under fire", () => {
  it.each(["control", "link", "client"] as const)(
    "%s: nothing crashes, good requests succeed in between",
    async (door) => {
      const pids = [...mesh.processes().keys()];
      const watch = new MemoryWatch(mesh);
      expect(await attack(door, at, MESSAGES, seededRandom(3))).toBeGreaterThanOrEqual(MESSAGES);
      expect((await mesh.fetch("/?id=good", { base: at.client })).status).toBe(200);
      expect((await mesh.api("GET", "/api/serve/applications/")).status).toBe(200);
      expect([...mesh.processes().keys()]).toEqual(expect.arrayContaining(pids));
      expect(watch.stop()).toBeLessThan(GROWTH_MAX_MIB);
    },
  );

  it("no request that is hidden in the body of another is seen", async () => {
    expect(await smuggled(at.client)).toEqual([]);
    expect(await smuggled(at.client, [PIPELINED])).toEqual([PIPELINED]);
  });
});
