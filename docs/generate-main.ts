/** Writes the generated tables into the documents: `node docs/generate-main.ts`. A test fails when they are out of date. */
import { readFileSync, writeFileSync } from "node:fs";
import { withTables } from "./tables.ts";

for (const name of ["PROTOCOL.md", "CLI.md"]) {
  const file = new URL(name, import.meta.url);
  writeFileSync(file, withTables(readFileSync(file, "utf8")));
}
