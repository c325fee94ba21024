/** `skein api-key`, and the key that `skein chat` shows. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCommandLine } from "../../cli/command-line.ts";
import { fakeOperators } from "./operators.ts";
import { fakeShell } from "./shell.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-api-key-"));

async function skein(
  line: string,
  env: Record<string, string> = {},
): Promise<{ exit: number; out: string; err: string }> {
  const shell = fakeShell({ cwd: folder, dataDirectory: join(folder, "data"), env });
  const exit = await runCommandLine(line.split(" ").filter(Boolean), shell);
  return { exit, out: shell.stdout, err: shell.stderr };
}

test("API keys: made, listed, revoked, given up; only the key goes to stdout", async () => {
  const key = { id: "0a", app: "chat", name: "web", created_at_ms: 0, expires_at_ms: null, expired: false };
  const old = { ...key, id: "0b", name: "", expires_at_ms: 1, expired: true };
  await using operators = await fakeOperators(({ method }) => {
    if (method === "POST") return [200, { ...key, key: "the-key", deployed: false }];
    return method === "GET" ? [200, { keys: [key, old], unreachable: ["shut"] }] : [200];
  });
  const at = `-a ${operators.url}`;
  expect(await skein(`api-key create --app chat --name web --expires 30d ${at}`)).toMatchObject({
    exit: 0,
    out: "the-key\n",
    err: expect.stringContaining('no application "chat" yet'),
  });
  expect(operators.asked[0]).toMatchObject({
    method: "POST",
    path: "/api/skein/api-keys",
    body: '{"app":"chat","name":"web","expires_in_s":2592000}',
  });
  expect(await skein(`api-key list ${at}`)).toMatchObject({
    out:
      "ID  APPLICATION  NAME  CREATED                   EXPIRES\n" +
      "0a  chat         web   1970-01-01T00:00:00.000Z  never\n" +
      "0b  chat               1970-01-01T00:00:00.000Z  1970-01-01T00:00:00.001Z (expired)\n",
    err: expect.stringContaining("skein api-key open shut"),
  });
  expect(JSON.parse((await skein(`api-key list --json ${at}`)).out)).toMatchObject({ unreachable: ["shut"] });
  expect(await skein(`api-key revoke 0a ${at}`)).toMatchObject({ exit: 0, out: "" });
  expect(operators.asked.at(-1)).toMatchObject({ method: "DELETE", path: "/api/skein/api-keys/0a" });
  expect(await skein(`api-key open chat ${at}`)).toMatchObject({ exit: 0, out: "" });
  expect(operators.asked.at(-1)).toMatchObject({ method: "DELETE", path: "/api/skein/applications/chat/api-keys" });
  const lifetimes = { "90": 90, "90s": 90, "15m": 900, "12h": 43_200, "1d": 86_400 };
  for (const [text, seconds] of Object.entries(lifetimes)) {
    await skein(`api-key create --app chat --expires ${text} ${at}`);
    expect(JSON.parse(operators.asked.at(-1)!.body)).toMatchObject({ expires_in_s: seconds });
  }
  for (const wrong of ["create", "create --app chat --expires soon", "create --app chat --expires 0d", "revoke"])
    expect(await skein(`api-key ${wrong} ${at}`)).toMatchObject({ exit: 2, out: "" });
});

test("chat shows the key of SKEIN_API_KEY, and says what is wrong without a good one", async () => {
  await using application = await fakeOperators(({ authorization }) =>
    authorization === "Bearer good" ? [200, "an answer"] : [401, "This application needs a valid API key"],
  );
  const chat = (env: Record<string, string>): ReturnType<typeof skein> =>
    skein(`chat hello --url ${application.url}/`, env);
  expect(await chat({ SKEIN_API_KEY: "good" })).toMatchObject({ exit: 0, out: "an answer\n" });
  expect(await chat({})).toMatchObject({ exit: 6, err: expect.stringContaining("set SKEIN_API_KEY") });
  expect(await chat({ SKEIN_API_KEY: "bad" })).toMatchObject({ exit: 6, err: expect.not.stringContaining("bad") });
});
