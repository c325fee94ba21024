/** Where Chrome or Chromium is on this machine, and with which flags it computes without a window. Knows no page. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";

/** What is looked at, in this order; names are looked up in PATH. */
const PLACES: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  linux: [
    "google-chrome-stable",
    "google-chrome",
    "chromium",
    "chromium-browser",
    "microsoft-edge",
    "/snap/bin/chromium",
  ],
  darwin: [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
  ],
  win32: ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"].flatMap((root) => [
    `%${root}%\\Google\\Chrome\\Application\\chrome.exe`,
    `%${root}%\\Chromium\\Application\\chrome.exe`,
    `%${root}%\\Microsoft\\Edge\\Application\\msedge.exe`,
  ]),
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * `SKEIN_CHROME`, then `PUPPETEER_EXECUTABLE_PATH`, then the usual places of this platform.
 * Throws NOT_FOUND with what to do.
 */
export function findChrome(
  environment: Environment,
  platform: NodeJS.Platform = process.platform,
  isThere: (path: string) => boolean = existsSync,
): string {
  for (const name of ["SKEIN_CHROME", "PUPPETEER_EXECUTABLE_PATH"]) {
    const chosen = environment[name];
    if (chosen === undefined || chosen === "") continue;
    if (isThere(chosen)) return chosen;
    throw new SkeinError("NOT_FOUND", `${name} names ${chosen}, which does not exist.`);
  }
  for (const place of PLACES[platform] ?? PLACES.linux!) {
    const path = place.replace(/%([^%]+)%/, (_, name: string) => environment[name] ?? "");
    const candidates = /[/\\]/.test(path)
      ? [path]
      : (environment["PATH"] ?? "").split(delimiter).map((folder) => join(folder, path));
    const found = candidates.find(isThere);
    if (found !== undefined) return found;
  }
  throw new SkeinError(
    "NOT_FOUND",
    "No Chrome or Chromium was found: install one, or name it with SKEIN_CHROME=/path/to/chrome. A worker without a browser needs none: leave --browser out.",
  );
}

export interface ChromeWishes {
  readonly allowSoftwareGpu: boolean;
  /** Chrome's own sandbox can't be set up by root on Linux. */
  readonly isRoot: boolean;
  /** Of keys (address.ts) whose certificates need no other signer. */
  readonly fingerprints: readonly string[];
}

/** Flags of a headless browser that may compute. Stable Chrome on Windows and macOS needs none for WebGPU; on Linux it is still gated. */
export function chromeFlags(
  { allowSoftwareGpu, isRoot, fingerprints }: ChromeWishes,
  platform: NodeJS.Platform = process.platform,
): string[] {
  const gpu = allowSoftwareGpu
    ? ["--enable-unsafe-webgpu"]
    : platform === "linux"
      ? ["--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-angle=vulkan", "--disable-vulkan-surface"]
      : [];
  const keys = fingerprints.map((hex) => Buffer.from(hex, "hex").toString("base64")).join(",");
  return [
    ...gpu,
    ...(isRoot && platform === "linux" ? ["--no-sandbox"] : []),
    ...(keys === "" ? [] : [`--ignore-certificate-errors-spki-list=${keys}`]),
  ];
}
