import { describe, expect, test } from "vitest";
import { chromeFlags, findChrome } from "../../../worker/node/chrome.ts";

const only =
  (...paths: string[]) =>
  (path: string): boolean =>
    paths.includes(path);

describe("the browser of a browser worker", () => {
  test("is the named one first, then the usual ones in order", () => {
    const all = only("/my/chrome", "/puppeteer/chrome", "/usr/bin/chromium", "/usr/bin/google-chrome");
    const environment = {
      PATH: "/bin:/usr/bin",
      SKEIN_CHROME: "/my/chrome",
      PUPPETEER_EXECUTABLE_PATH: "/puppeteer/chrome",
    };
    expect(findChrome(environment, "linux", all)).toBe("/my/chrome");
    expect(findChrome({ ...environment, SKEIN_CHROME: "" }, "linux", all)).toBe("/puppeteer/chrome");
    expect(findChrome({ PATH: "/bin:/usr/bin" }, "linux", all)).toBe("/usr/bin/google-chrome");
    expect(findChrome({ PATH: "" }, "linux", only("/snap/bin/chromium"))).toBe("/snap/bin/chromium");
    expect(findChrome({}, "darwin", () => true)).toBe("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
    expect(
      findChrome({ PROGRAMFILES: "C:\\P" }, "win32", only("C:\\P\\Google\\Chrome\\Application\\chrome.exe")),
    ).toContain("C:\\P");
  });

  test("is missing with advice", () => {
    expect(() => findChrome({ PATH: "/bin" }, "linux", () => false)).toThrow(/SKEIN_CHROME/);
    expect(() => findChrome({ SKEIN_CHROME: "/gone" }, "linux", only("/bin/chromium"))).toThrow(
      /SKEIN_CHROME names \/gone/,
    );
  });

  test("gives up its sandbox only for root on Linux, and takes a software GPU only where that is allowed", () => {
    expect(chromeFlags({ allowSoftwareGpu: false, isRoot: false, fingerprints: [] }, "linux")).toContain(
      "--use-angle=vulkan",
    );
    expect(chromeFlags({ allowSoftwareGpu: true, isRoot: false, fingerprints: [] }, "linux")).toEqual([
      "--enable-unsafe-webgpu",
    ]);
    expect(chromeFlags({ allowSoftwareGpu: true, isRoot: true, fingerprints: [] }, "linux")).toContain("--no-sandbox");
    expect(chromeFlags({ allowSoftwareGpu: false, isRoot: true, fingerprints: [] }, "darwin")).toEqual([]);
  });

  test("takes a self-signed certificate by its key and by nothing else", () => {
    expect(
      chromeFlags({ allowSoftwareGpu: false, isRoot: false, fingerprints: ["00ff".repeat(16)] }, "darwin"),
    ).toEqual(["--ignore-certificate-errors-spki-list=AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8="]);
  });
});
