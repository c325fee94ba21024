/** What Ray's driver did (C015, X-HDL-11), as a script: `skein exec ct_script.ts`. Prints what came of each step as JSON. */
import * as serve from "skein";
import { fail_ctor as failing, NotBound, ok } from "./ct_fail.ts";
import type { Target } from "./ct_handle.ts";

const seen: Record<string, unknown> = {};
async function step(name: string, act: () => unknown): Promise<void> {
  try {
    seen[name] = { result: (await act()) ?? null };
  } catch (error) {
    seen[name] = { error: (error as Error).message };
  }
}

if (process.argv[2] === "handles") {
  await step("get_deployment_handle", async () => (await serve.getDeploymentHandle<Target>("Target", "handle")).add(3));
  await step("unknown app", () => serve.getAppHandle("nope"));
  await step("unknown deployment", () => serve.getDeploymentHandle("Nope", "handle"));
} else {
  const handle = await serve.run(ok, { name: "imp", routePrefix: "/imp" });
  await step("status", async () =>
    Object.fromEntries(Object.entries((await serve.status()).applications).map(([name, { status }]) => [name, status])),
  );
  await step("run second app on used prefix /imp", () => serve.run(ok, { name: "second", routePrefix: "/imp" }));
  await step("run with prefix no_slash", () => serve.run(ok, { name: "second", routePrefix: "no_slash" }));
  await step("run with prefix /a/", () => serve.run(ok, { name: "second", routePrefix: "/a/" }));
  await step("run a Deployment instead of an Application", () => serve.run(NotBound as never, { name: "second" }));
  await step("run failing constructor", () => serve.run(failing, { name: "impbad", routePrefix: "/impbad" }));
  await step("delete unknown app", () => serve.delete("nope"));
  await step("handle .remote(None).result()", () => (handle as serve.DeploymentHandle<{ fetch(): string }>).fetch());
}
console.log(JSON.stringify(seen));
