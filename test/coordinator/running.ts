/** A mesh with one application that runs. */
import { expect } from "vitest";
import { FakeMesh } from "./fake-mesh.ts";
import { manifest } from "./manifest.ts";

export const one = (options: Record<string, unknown> = {}, version = 1) => manifest({ D: options }, version);

export async function running(options: Record<string, unknown> = {}, workers = 1): Promise<FakeMesh> {
  const mesh = new FakeMesh();
  for (let i = 0; i < workers; i += 1) mesh.worker(String.fromCharCode(97 + i));
  await mesh.run(50);
  await mesh.deploy([{ manifest: one(options) }]);
  await mesh.run(500);
  expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
  return mesh;
}
