/** What Hugging Face's own tools take from the environment and the home folder, with the meaning that it has there. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { FetchOptions } from "../models/fetch-repository.ts";

type HubOptions = Pick<FetchOptions, "hubEndpoint" | "hubToken" | "hubCache" | "offline">;

/** `userHome`: the user's home folder. */
export async function hubEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  userHome: string,
): Promise<HubOptions> {
  const home = env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(userHome, ".cache"), "huggingface");
  return {
    hubEndpoint: env["HF_ENDPOINT"] || undefined,
    hubToken: env["HF_TOKEN"]?.trim() || (await savedToken(env, home)),
    hubCache: env["HF_HUB_CACHE"] || join(home, "hub"),
    offline: isSet(env["HF_HUB_OFFLINE"]),
  };
}

/** What `hf auth login` wrote, unless the user wants a token to be sent only where it is given. */
async function savedToken(
  env: Readonly<Record<string, string | undefined>>,
  home: string,
): Promise<string | undefined> {
  if (isSet(env["HF_HUB_DISABLE_IMPLICIT_TOKEN"])) return undefined;
  const text = await readFile(env["HF_TOKEN_PATH"] || join(home, "token"), "utf8").catch(() => "");
  return text.trim() || undefined;
}

const isSet = (value: string | undefined): boolean => ["1", "on", "yes", "true"].includes(value?.toLowerCase() ?? "");
