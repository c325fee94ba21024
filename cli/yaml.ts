/** YAML as Ray Serve's command prints it: single quotes, list items at their key's column, a blank line between top-level keys. Pure. */
import { stringify } from "yaml";

const STYLE = { singleQuote: true, lineWidth: 0, indentSeq: false } as const;

/** A mapping with a blank line after each top-level key but the last. */
export const spacedYaml = (value: Readonly<Record<string, unknown>>): string =>
  Object.entries(value)
    .map(([key, part]) => stringify({ [key]: part }, STYLE))
    .join("\n");
