/** The command as a person meets it: help, mistakes, exit codes, and which stream says what. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { runCommandLine } from "../../cli/command-line.ts";
import { fakeOperators } from "./operators.ts";
import { fakeShell } from "./shell.ts";
import { application, deployment, replica, report } from "./status-report.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function skein(
  line: string,
  options: Parameters<typeof fakeShell>[0] = {},
): Promise<{ exit: number; out: string; err: string }> {
  const shell = fakeShell({ cwd: folder, dataDirectory: join(folder, "data"), ...options });
  const exit = await runCommandLine(line.split(" ").filter(Boolean), shell);
  return { exit, out: shell.stdout, err: shell.stderr };
}

describe("help", () => {
  const commands = (text: string): string[] =>
    [...text.matchAll(/^ {2}([a-z-]+)(?= )/gm)].map((m) => m[1] ?? "").filter((name) => !name.startsWith("-"));

  test("lists the verbs on stdout", async () => {
    const { exit, out, err } = await skein("--help");
    expect({ exit, err }).toEqual({ exit: 0, err: "" });
    expect(commands(out)).toEqual([
      "run",
      "start",
      "worker",
      "deploy",
      "status",
      "config",
      "build",
      "shutdown",
      "logs",
      "chat",
      "exec",
      "doctor",
      "models",
      "join-token",
      "api-key",
      "version",
      "help",
    ]);
    expect(out).toContain("Exit codes: 0 ok");
  });

  test("without a verb goes to stderr and exits with 2, as Ray's does", async () => {
    const { exit, out, err } = await skein("");
    expect({ exit, out }).toEqual({ exit: 2, out: "" });
    expect(commands(err)).toContain("run");
  });

  // The option names that recordings X-CLI-03 and X-CLI-04 have.
  test.each([
    [
      "run",
      [
        "--runtime-env",
        "--runtime-env-json",
        "--working-dir",
        "-d, --app-dir",
        "-a, --address",
        "--blocking",
        "--non-blocking",
        "-r, --reload",
        "--route-prefix",
        "--name",
        "-h, --help",
      ],
    ],
    ["deploy", ["--runtime-env", "--runtime-env-json", "--working-dir", "--name", "-a, --address", "-h, --help"]],
    ["status", ["-a, --address", "-n, --name", "--json", "-h, --help"]],
    ["config", ["-a, --address", "-n, --name", "--json"]],
    ["build", ["-d, --app-dir", "-o, --output-path", "--grpc-servicer-functions"]],
    ["shutdown", ["-a, --address", "-y, --yes"]],
    ["start", ["--http-host", "--http-port", "--proxy-location", "--grpc-port", "--grpc-servicer-functions"]],
    ["worker join", ["--token", "--browser", "--allow-software-gpu"]],
  ])("%s has Ray's options", async (verb, options) => {
    const { exit, out } = await skein(`${verb} --help`);
    expect(exit).toBe(0);
    for (const option of options) expect(out).toMatch(new RegExp(`^ {2}(-\\w, )?.*${option}( |$)`, "m"));
  });
});

describe("usage errors exit with 2", () => {
  test.each([
    ["statsu", "skein: unknown command 'statsu'\n(Did you mean status?)"],
    ["status --jsn", "unknown option '--jsn'\n(Did you mean --json?)"],
    ["run", "missing required argument 'config_or_import_path'"],
    ["run llm:chat --http-port eighty", "Expected a port"],
    ["run llm:chat message", "Invalid application argument 'message', must be of the form '<key>=<val>'."],
    ["run llm:chat:more", 'Got invalid import path "llm:chat:more". An import path may have at most one colon.'],
    ["run llm:chat --route-prefix chat", "Invalid route_prefix 'chat', must start with a forward slash ('/')."],
    ["status -a mailto:x", 'Not an address: "mailto:x".'],
    ["worker join http://127.0.0.1:1", "No join token: give --token"],
    ["worker join http://10.0.0.1:8266#token=t", "http://10.0.0.1:8266 is without encryption"],
    ["worker join https://h:1/join#token=t&sha256=ab", "is not 64 hexadecimal digits: was the link copied whole?"],
    ["start --proxy-location Everywhere", "Allowed choices are EveryNode, HeadOnly, Disabled"],
    ["logs a/b/c", "Expected <app> or <app>/<deployment>"],
  ])("%s", async (line, message) => {
    const { exit, out, err } = await skein(line);
    expect(out).toBe("");
    expect(err).toContain(message);
    expect(exit).toBe(2);
  });
});

test("a configuration with a mistake exits with 3 and shows the place", async () => {
  writeFileSync(join(folder, "bad.yaml"), "applications:\n- name: llm\n  import_pth: llm:chat\n");
  const { exit, err } = await skein("run bad.yaml");
  expect(exit).toBe(3);
  expect(err).toContain(
    'bad.yaml:3:3: Unknown key "import_pth". Did you mean "import_path"?\n  3 |   import_pth: llm:chat\n    |   ^^^^^^^^^^\n',
  );
});

test("a file that isn't there exits with 4", async () => {
  expect(await skein("deploy nope.yaml")).toMatchObject({
    exit: 4,
    err: `There is no file ${join(folder, "nope.yaml")}.\n`,
  });
});

test("no mesh: one sentence, exit 5", async () => {
  await using gone = await fakeOperators(() => [200]);
  await gone[Symbol.asyncDispose]();
  const { exit, err } = await skein(`status -a ${gone.url}`);
  expect(exit).toBe(5);
  expect(err).toMatch(
    /^No mesh answers at http:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\)\. Start one with `skein start`, or name another with --address or SKEIN_ADDRESS\.\n$/,
  );
});

test("--non-blocking without a mesh says what to do", async () => {
  expect(await skein("run llm:chat --non-blocking")).toMatchObject({
    exit: 5,
    err: expect.stringContaining("start one with `skein start`"),
  });
});

describe("against a coordinator", () => {
  const serving = (state = report()) =>
    fakeOperators(({ path }) => (path.startsWith("/api/serve/applications/") ? [200, state] : [404, { error: "no" }]));

  test("the admin token comes from the environment; 401 exits with 6", async () => {
    await using operators = await fakeOperators(({ authorization }) =>
      authorization === "Bearer right" ? [200, report()] : [401, "{}"],
    );
    expect(await skein("status", { env: { SKEIN_ADDRESS: operators.url } })).toMatchObject({
      exit: 6,
      out: "",
      err: expect.stringContaining("wants the admin token"),
    });
    expect(await skein("status", { env: { SKEIN_ADDRESS: operators.url, SKEIN_ADMIN_TOKEN: "wrong" } })).toMatchObject({
      exit: 6,
      err: expect.stringContaining("does not accept"),
    });
    expect(
      await skein("status", { env: { RAY_DASHBOARD_ADDRESS: operators.url, SKEIN_ADMIN_TOKEN: "right" } }),
    ).toMatchObject({ exit: 0, err: "" });
  });

  test("the data directory's token goes to its own mesh and to no other", async () => {
    await using mine = await serving();
    await using other = await serving();
    const data = mkdtempSync(join(folder, "data-"));
    writeFileSync(join(data, "admin-token"), "secret\n");
    writeFileSync(
      join(data, "mesh.json"),
      JSON.stringify({
        operatorsUrl: mine.url,
        meshUrl: "http://127.0.0.1:1",
        adminTokenFile: join(data, "admin-token"),
        pid: 1,
      }),
    );
    await skein("status", { dataDirectory: data });
    await skein(`status -a ${mine.url.replace("127.0.0.1", "localhost")}`, { dataDirectory: data });
    await skein(`status -a ${other.url}`, { dataDirectory: data });
    expect(mine.asked.map((a) => a.authorization)).toEqual(["Bearer secret", "Bearer secret"]);
    expect(other.asked.map((a) => a.authorization)).toEqual([undefined]);
  });

  test("status in Ray's form (X-TXT-03)", async () => {
    await using operators = await serving();
    expect((await skein(`status -a ${operators.url}`)).out).toMatchInlineSnapshot(`
      "proxies:
        h: HEALTHY

      applications:
        llm:
          status: RUNNING
          message: ''
          last_deployed_time_s: 1700000000.5
          deployments:
            LLM:
              status: HEALTHY
              status_trigger: CONFIG_UPDATE_COMPLETED
              replica_states:
                RUNNING: 1
              message: ''

      target_capacity: null
      "
    `);
    expect((await skein(`status -n llm -a ${operators.url}`)).out).toMatchInlineSnapshot(`
      "status: RUNNING

      message: ''

      last_deployed_time_s: 1700000000.5

      deployments:
        LLM:
          status: HEALTHY
          status_trigger: CONFIG_UPDATE_COMPLETED
          replica_states:
            RUNNING: 1
          message: ''
      "
    `);
    expect(JSON.parse((await skein(`status --json -a ${operators.url}`)).out)).toEqual(report());
  });

  test("nothing runs (X-CLI-01)", async () => {
    await using operators = await serving(report({ applications: {}, proxies: {} }));
    expect((await skein(`status -a ${operators.url}`)).out).toBe(
      "proxies: {}\n\napplications: {}\n\ntarget_capacity: null\n",
    );
    expect(await skein(`config -a ${operators.url}`)).toEqual({
      exit: 0,
      out: "",
      err: "No configuration was found.\n",
    });
    expect(await skein(`config -n nope -a ${operators.url}`)).toMatchObject({
      exit: 4,
      err: 'No config has been deployed for application "nope".\n',
    });
    expect(await skein(`status -n nope -a ${operators.url}`)).toMatchObject({
      exit: 4,
      err: 'Application "nope" does not exist.\n',
    });
    expect(await skein(`shutdown -y -a ${operators.url}`)).toMatchObject({
      exit: 0,
      err: `No Serve instance found running on the mesh at ${operators.url}.\n`,
    });
    expect(operators.asked.filter((a) => a.method === "DELETE")).toEqual([]);
  });

  test("status says why a replica can't be placed", async () => {
    const waiting = deployment({
      status: "UPDATING",
      status_trigger: "CONFIG_UPDATE_STARTED",
      replicas: [replica({ state: "STARTING", message: "laptop lacks 1 GPU (has 0)" })],
    });
    await using operators = await serving(
      report({ applications: { llm: application({ status: "DEPLOYING", deployments: { LLM: waiting } }) } }),
    );
    expect((await skein(`status -a ${operators.url}`)).out).toContain(
      "          waiting:\n          - laptop lacks 1 GPU (has 0)\n".replaceAll(/^ {10}/gm, "        "),
    );
  });

  test("config: what was written, without the build's hash", async () => {
    await using operators = await serving(
      report({
        applications: {
          llm: application(),
          two: application({ name: "two", deployed_app_config: { name: "two", import_path: "two:app" } }),
        },
      }),
    );
    expect((await skein(`config -a ${operators.url}`)).out).toMatchInlineSnapshot(`
      "name: llm

      route_prefix: /

      import_path: llm:chat

      runtime_env: {}

      deployments:
      - name: LLM
        num_replicas: 1

      ---

      name: two

      import_path: two:app
      "
    `);
  });

  test("shutdown", async () => {
    await using operators = await serving();
    expect(await skein(`shutdown -y -a ${operators.url}`)).toEqual({
      exit: 0,
      out: "",
      err: "Sent shutdown request; applications will be deleted asynchronously.\n",
    });
    expect(operators.asked.map((a) => a.method)).toEqual(["GET", "DELETE"]);
  });

  test("logs: the stream as it comes; unknown names suggest", async () => {
    await using operators = await fakeOperators(({ path }) =>
      path.startsWith("/api/skein/logs/") ? [200, `line of ${path}\n`] : [200, report()],
    );
    expect(await skein(`logs llm/LLM -f -a ${operators.url}`)).toEqual({
      exit: 0,
      out: "line of /api/skein/logs/llm/LLM?follow=1\n",
      err: "",
    });
    expect(await skein(`logs lml -a ${operators.url}`)).toMatchObject({
      exit: 4,
      err: 'No application "lml". Did you mean "llm"?\n',
    });
    expect(await skein(`logs llm/Embed -a ${operators.url}`)).toMatchObject({
      exit: 4,
      err: 'No deployment "Embed". There are: LLM.\n',
    });
  });

  test("chat sends a JSON string and streams the answer", async () => {
    await using app = await fakeOperators(({ body }) =>
      body === '"boom"' ? [500, "Internal Server Error"] : [200, `You said: ${JSON.parse(body)}`],
    );
    const target = (port: number) =>
      report({
        target_groups: [
          {
            protocol: "HTTP",
            route_prefix: "/",
            app_name: "",
            targets: [{ ip: "127.0.0.1", port, instance_id: "", name: "" }],
          },
        ],
      });
    await using operators = await serving(target(Number(new URL(app.url).port)));
    expect(await skein(`chat hello there -a ${operators.url}`)).toEqual({
      exit: 0,
      out: "You said: hello there\n",
      err: "",
    });
    expect(await skein(`chat boom -a ${operators.url}`)).toMatchObject({
      exit: 1,
      out: "",
      err: expect.stringContaining("answered 500: Internal Server Error"),
    });
    expect(await skein(`chat hello --name other -a ${operators.url}`)).toMatchObject({ exit: 4 });
    expect(await skein(`chat hello --url http://127.0.0.1:1/`)).toMatchObject({ exit: 5 });
  });

  test("join tokens: made, listed, revoked; the line to paste goes to stdout", async () => {
    await using operators = await fakeOperators(({ method }) => {
      if (method === "POST")
        return [200, { id: "t1", token: "the-token", link: "https://h:1/join#token=t&sha256=ab", uses_left: 3 }];
      return method === "GET" ? [200, { tokens: [{ id: "t1", expires_at_ms: 0, uses_left: 2 }] }] : [204];
    });
    expect(await skein(`join-token create --uses 3 --expires 60 -a ${operators.url}`)).toMatchObject({
      exit: 0,
      out: 'skein worker join "https://h:1/join#token=t&sha256=ab"\n',
    });
    expect(operators.asked[0]).toMatchObject({ method: "POST", body: '{"expires_in_s":60,"max_uses":3}' });
    expect((await skein(`join-token list -a ${operators.url}`)).out).toBe(
      "ID  EXPIRES                   USES LEFT\nt1  1970-01-01T00:00:00.000Z  2\n",
    );
    expect(await skein(`join-token revoke t1 -a ${operators.url}`)).toMatchObject({ exit: 0, out: "" });
    expect(operators.asked.at(-1)).toMatchObject({ method: "DELETE", path: "/api/skein/join-tokens/t1" });
  });

  test("Ctrl-C during a question exits with 130 and says nothing", async () => {
    const shell = fakeShell({
      cwd: folder,
      dataDirectory: folder,
      fetch: (_url, init) =>
        new Promise((_, reject) => {
          init?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
          queueMicrotask(() => shell.stopping.abort());
        }),
    });
    expect(await runCommandLine(["status"], shell)).toBe(130);
    expect(shell.stderr + shell.stdout).toBe("");
  });
});

test("version", async () => {
  expect(JSON.parse((await skein("version --json")).out)).toMatchObject({
    skein: "0.1.0",
    node: process.versions.node,
  });
});
