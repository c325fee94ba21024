/** The most telling rounds of `npm run chaos`, once each: no request fails that needn't, all is well again soon. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Observer } from "../chaos/observer.ts";
import { deployed, round } from "../chaos/round.ts";
import { eventually, SystemMesh } from "./mesh.ts";

/** The bound is 2 s; four times that on a machine that others use too. */
const LIGHT_CLASS_BACK_MS = 8_000;
/** Half-open links are noticed within 5 s; twice that. */
const NOTICED_WITHIN_MS = 10_000;

let observer: Observer;
let mesh: SystemMesh;
let base: string;
let processes: number;
beforeAll(async () => {
  observer = await Observer.start();
  mesh = await SystemMesh.start({
    workers: 2,
    appDir: fileURLToPath(new URL("./apps", import.meta.url)),
    compiled: true,
  });
  base = await deployed(mesh, observer);
  processes = mesh.processes().size;
});
afterAll(async () => {
  await mesh?.stop();
  observer?.close();
});

describe("under 32 clients", () => {
  it.each([
    ["replica", "kill", "unary"],
    ["replica", "kill", "upload"],
    ["agent", "kill", "unary"],
    ["ingress", "kill", "unary"],
    ["coordinator", "kill", "stream"],
  ] as const)("%s, %s, %s requests", async (target, fault, activity) => {
    const { requests, failed, answeredMs, wholeMs, samePids } = await round(
      mesh,
      observer,
      base,
      target,
      fault,
      activity,
    );
    expect(failed).toEqual([]);
    expect(requests).toBeGreaterThan(32);
    expect(samePids).toBe(true);
    expect(answeredMs).toBeLessThan(LIGHT_CLASS_BACK_MS);
    if (target === "replica") expect(wholeMs).toBeLessThan(LIGHT_CLASS_BACK_MS);
    await eventually(() => mesh.processes().size === processes, "there are as many processes as before");
  });

  it("a frozen ingress: what it held is answered when it goes on, though it has lost all its links", async () => {
    const { failed, requests } = await round(mesh, observer, base, "ingress", "stop", "unary");
    expect(failed).toEqual([]);
    expect(requests).toBeGreaterThan(32);
  });

  it("a frozen replica: keyed and GET requests that it holds are answered by the other one once its link counts as dead", async () => {
    const { failed, requests, slowestMs } = await round(mesh, observer, base, "replica", "stop", "unary");
    expect(failed).toEqual([]);
    expect(requests).toBeGreaterThan(32);
    expect(slowestMs).toBeLessThan(NOTICED_WITHIN_MS);
  });
});
