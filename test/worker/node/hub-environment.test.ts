import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { hubEnvironment } from "../../../worker/node/hub-environment.ts";

const home = await mkdtemp(join(tmpdir(), "skein-hub-environment-"));
afterAll(() => rm(home, { recursive: true, force: true }));

test("places, offline and the endpoint are those of Hugging Face's tools", async () => {
  expect(await hubEnvironment({}, home)).toEqual({
    hubEndpoint: undefined,
    hubToken: undefined,
    hubCache: join(home, ".cache/huggingface/hub"),
    offline: false,
  });
  expect((await hubEnvironment({ XDG_CACHE_HOME: "/x" }, home)).hubCache).toBe("/x/huggingface/hub");
  expect((await hubEnvironment({ HF_HOME: "/h", XDG_CACHE_HOME: "/x" }, home)).hubCache).toBe("/h/hub");
  expect((await hubEnvironment({ HF_HUB_CACHE: "/c", HF_HOME: "/h" }, home)).hubCache).toBe("/c");
  for (const [value, offline] of [
    ["1", true],
    ["TRUE", true],
    ["0", false],
    ["", false],
  ] as const)
    expect((await hubEnvironment({ HF_HUB_OFFLINE: value }, home)).offline, value).toBe(offline);
});

test("a token is that of the environment, else the one that `hf auth login` saved, unless that isn't wanted", async () => {
  await mkdir(join(home, ".cache/huggingface"), { recursive: true });
  await writeFile(join(home, ".cache/huggingface/token"), "hf_saved\n");
  await writeFile(join(home, "other"), " hf_other ");
  const tokenOf = async (env: Record<string, string>) => (await hubEnvironment(env, home)).hubToken;
  expect(await tokenOf({})).toBe("hf_saved");
  expect(await tokenOf({ HF_TOKEN: "hf_given" })).toBe("hf_given");
  expect(await tokenOf({ HF_TOKEN_PATH: join(home, "other") })).toBe("hf_other");
  expect(await tokenOf({ HF_HOME: join(home, "nowhere") })).toBeUndefined();
  expect(await tokenOf({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).toBeUndefined();
  expect(await tokenOf({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "1", HF_TOKEN: "hf_given" })).toBe("hf_given");
});
