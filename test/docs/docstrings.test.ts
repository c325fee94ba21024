/** Everything that user code can import from `skein`, `skein/llm` and `skein/onnx` says what it is. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const EXPORTS = /export (?:type )?\{([^}]*)\} from "([^"]+)"/g;

/** Names that `index` exports whose declaration has no docstring right before it. */
function undocumented(index: string, read: (file: string) => string): string[] {
  return [...read(index).matchAll(EXPORTS)].flatMap(([, names = "", from = ""]) => {
    const file = resolve(dirname(index), from);
    const source = read(file);
    return names
      .split(",")
      .map((name) =>
        name
          .trim()
          .replace(/^type /, "")
          .replace(/ as .*$/, ""),
      )
      .filter((name) => name !== "")
      .flatMap((name) => {
        const kinds = "(?:declare |abstract |async )*(?:class|interface|type|const|function\\*?)";
        const declared = new RegExp(`(\\*/\\n)?export ${kinds} ${name}\\b`).exec(source);
        if (declared?.[1] !== undefined) return [];
        // What is passed on is documented where it is made.
        const passed = [...source.matchAll(EXPORTS)].some(([, inner = ""]) => inner.split(/[\s,]+/).includes(name));
        return declared === null && passed ? undocumented(file, read).filter((one) => one === name) : [name];
      });
  });
}

const readFile = (file: string): string => readFileSync(file, "utf8");

test.each(["serve/index.ts", "llm/index.ts", "llm/onnx/index.ts"])("every export of %s", (index) => {
  expect(existsSync(join(root, index))).toBe(true);
  expect(undocumented(join(root, index), readFile)).toEqual([]);
});

test("one without a docstring is found, also where it is passed on", () => {
  const files: Record<string, string> = {
    "/index.ts": 'export { good, bad, type Kind } from "./a.ts";',
    "/a.ts": '/** Good. */\nexport function good() {}\nexport function bad() {}\nexport type { Kind } from "./b.ts";',
    "/b.ts": "export interface Kind {}",
  };
  expect(undocumented("/index.ts", (file) => files[file] ?? "")).toEqual(["bad", "Kind"]);
});
