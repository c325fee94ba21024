/** Where this user's data lies: `SKEIN_DATA_DIR`, else the platform's place (XDG on Linux). Creates nothing. */
import { join, resolve } from "node:path";
import envPaths from "env-paths";

/** Absolute path of the data directory, such as `~/.local/share/skein`. */
export function dataDirectory(env: Readonly<Record<string, string | undefined>>): string {
  const chosen = env["SKEIN_DATA_DIR"];
  return chosen ? resolve(chosen) : envPaths("skein", { suffix: "" }).data;
}

/** Where models lie in the form of their providers, one folder each. */
export const preparedFolder = (dataDir: string): string => join(dataDir, "prepared");
