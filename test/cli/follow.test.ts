/** From "deployed" to "running": what people are told meanwhile, and which URL they get. */
import { expect, test } from "vitest";
import { Client } from "../../cli/client.ts";
import { follow, progressOf, urlOf } from "../../cli/follow.ts";
import { servingBlock } from "../../cli/mesh/announce.ts";
import { fakeOperators } from "./operators.ts";
import { fakeShell } from "./shell.ts";
import { application, deployment, replica, report } from "./status-report.ts";

const deploying = (more: Parameters<typeof deployment>[0]) =>
  application({ status: "DEPLOYING", deployments: { LLM: deployment({ status: "UPDATING", ...more }) } });

test("what an application waits for", () => {
  expect(progressOf("llm", undefined).text).toBe("llm: waiting for the coordinator");
  expect(progressOf("llm", application({ status: "DEPLOYING", deployments: {} })).text).toBe("llm: building");
  expect(progressOf("llm", deploying({ replicas: [] })).text).toBe("llm: starting");
  expect(
    progressOf(
      "llm",
      deploying({ replicas: [replica({ state: "STARTING", message: "downloading model 12.5 of 98.4 MB" })] }),
    ).text,
  ).toBe("llm: downloading model 12.5 of 98.4 MB");
  expect(
    progressOf(
      "llm",
      deploying({ target_num_replicas: 2, replicas: [replica(), replica({ state: "STARTING", message: "loading" })] }),
    ).text,
  ).toBe("llm: loading (1 of 2 replicas ready)");
  expect(progressOf("llm", application())).toEqual({ state: "running", text: "llm: running" });
  expect(progressOf("llm", application({ status: "DEPLOY_FAILED", message: "boom" }))).toEqual({
    state: "failed",
    text: "boom",
  });
  const failed = application({
    status: "DEPLOY_FAILED",
    message: "Failed to update the deployments ['LLM'].",
    deployments: {
      LLM: deployment({ status: "DEPLOY_FAILED", message: "the disk is full" }),
      Other: deployment({ status: "HEALTHY", message: "fine" }),
    },
  });
  expect(progressOf("llm", failed).text).toBe("Failed to update the deployments ['LLM'].\nthe disk is full");
});

test("the URL is one that a person can type", () => {
  expect(urlOf(report(), "llm")).toBe("http://localhost:8123/");
  expect(urlOf(report({ target_groups: [], http_options: { host: "0.0.0.0", port: 8901 } }), "llm")).toBe(
    "http://localhost:8901/",
  );
  expect(
    urlOf(
      report({
        target_groups: [],
        http_options: { host: "192.168.1.5", port: 80, root_path: "/v1" },
        applications: { llm: application({ route_prefix: "/chat" }) },
      }),
      "llm",
    ),
  ).toBe("http://192.168.1.5:80/v1/chat");
  expect(urlOf(report({ applications: { llm: application({ route_prefix: null }) } }), "llm")).toBeUndefined();
  expect(urlOf(report({ proxy_location: "Disabled" }), "llm")).toBeUndefined();
  expect(urlOf(report({ target_groups: [], http_options: null }), "llm")).toBeUndefined();
});

test("follows until the application runs and its route is there", async () => {
  let asked = 0;
  let routes: Record<string, string> = {};
  await using app = await fakeOperators(() => [200, routes]);
  const port = Number(new URL(app.url).port);
  const listening = report({
    target_groups: [
      {
        protocol: "HTTP",
        route_prefix: "/",
        app_name: "",
        targets: [{ ip: "127.0.0.1", port, instance_id: "", name: "" }],
      },
    ],
  });
  await using operators = await fakeOperators(() => {
    asked += 1;
    if (asked < 3)
      return [
        200,
        report({
          applications: { llm: deploying({ replicas: [replica({ state: "STARTING", message: `step ${asked}` })] }) },
        }),
      ];
    if (asked > 4) routes = { "/": "llm" };
    return [200, listening];
  });
  const told: string[] = [];
  const shell = fakeShell({ realTime: true });
  const status = await follow(
    ["llm"],
    new Client(operators.url, null, fetch, shell.stop),
    shell,
    (text) => void told.push(text),
  );
  expect(told).toEqual(["llm: step 1", "llm: step 2"]);
  expect(status.applications["llm"]?.status).toBe("RUNNING");
  expect(asked).toBeGreaterThan(4);
});

test("a failed deploy is exit 1 with the deploy's own message; Ctrl-C is 130; no listener is a sentence", async () => {
  let state = report({
    applications: { llm: application({ status: "DEPLOY_FAILED", message: "llm.ts:3:1: model file is corrupt" }) },
  });
  await using operators = await fakeOperators(() => [200, state]);
  const shell = fakeShell();
  const client = new Client(operators.url, null, fetch, shell.stop);
  await expect(follow(["llm"], client, shell, () => {})).rejects.toMatchObject({
    exit: 1,
    message: "llm.ts:3:1: model file is corrupt",
  });
  state = report({ target_groups: [], http_options: { host: "127.0.0.1", port: 9 } });
  await expect(follow(["llm"], client, shell, () => {})).rejects.toMatchObject({
    exit: 1,
    message: expect.stringContaining("nothing answers on HTTP port 9 of 127.0.0.1"),
  });
  state = report({ applications: { llm: deploying({}) } });
  shell.stopping.abort();
  await expect(follow(["llm"], client, shell, () => {})).rejects.toMatchObject({ exit: 130 });
});

test("the closing block", () => {
  expect(
    servingBlock({
      status: report(),
      names: ["llm"],
      statusPage: "http://127.0.0.1:8265/",
      own: true,
      body: '"Hi"',
      elapsedS: 3.21,
    }),
  ).toMatchInlineSnapshot(`
    "
    Ready in 3.2 s.

      URL     http://localhost:8123/
      Try it  curl -X POST http://localhost:8123/ -H 'content-type: application/json' -d '"Hi"'
      Status  http://127.0.0.1:8265/
      Stop    Ctrl-C
    "
  `);
});
