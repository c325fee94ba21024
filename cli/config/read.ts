/**
 * Reads a YAML configuration and answers every mistake with its place: file:line:column, the line, a caret, the expected form.
 * Pure: text in, configuration or explanations out. Knows YAML and positions; the rules themselves are protocol/config.ts.
 */
import { isCollection, isMap, isPair, isScalar, LineCounter, parseDocument, type Document, type Node } from "yaml";
import {
  parseDeployConfig,
  pathText,
  unsupportedKeys,
  type ConfigIssue,
  type DeployConfig,
  type DeployInput,
} from "../../protocol/config.ts";
import { DEPLOY_BODY_MAX } from "../../protocol/limits.ts";
import { nearest } from "../suggest.ts";
import { expectedForm, knownKeys, type Path } from "./expected.ts";

/** Aliases that one document may resolve: a real configuration has a handful, a "billion laughs" has millions. */
const ALIASES_MAX = 100;
/** Mistakes shown at one time; the rest is counted. */
const ISSUES_SHOWN = 20;
/** A line longer than this is cut around the caret, characters. */
const LINE_SHOWN = 120;

export type ReadConfig =
  | {
      readonly input: DeployInput;
      readonly config: DeployConfig;
      readonly warnings: readonly string[];
      readonly errors?: undefined;
    }
  /** One text per mistake, each ready to print. */
  | { readonly errors: readonly string[]; readonly input?: undefined };

interface Place {
  /** Offsets into the text. */
  readonly from: number;
  readonly to: number;
}

/** `file` is how messages name it. Never throws for bad text. */
export function readConfig(text: string, file: string): ReadConfig {
  if (text.length > DEPLOY_BODY_MAX)
    return { errors: [`${file}: ${text.length} characters; the limit is ${DEPLOY_BODY_MAX}.`] };
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const show = (place: Place, message: string): string => inContext(text, file, lines, place, message);
  const all = (found: { place: Place; message: string }[]): ReadConfig => {
    const shown = found.toSorted((a, b) => a.place.from - b.place.from).slice(0, ISSUES_SHOWN);
    const rest = found.length - shown.length;
    return {
      errors: [
        ...shown.map((one) => show(one.place, one.message)),
        ...(rest > 0 ? [`${file}: and ${rest} more.`] : []),
      ],
    };
  };

  if (document.errors.length > 0)
    return all(
      document.errors.map((error) => ({
        place: { from: error.pos[0], to: error.pos[1] },
        message: syntaxMessage(error.code, error.message),
      })),
    );
  let input: unknown;
  try {
    input = document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (thrown) {
    return {
      errors: [
        `${file}: ${thrown instanceof Error ? thrown.message : String(thrown)} (at most ${ALIASES_MAX} aliases are resolved).`,
      ],
    };
  }
  if (typeof input !== "object" || input === null || Array.isArray(input))
    return all([
      { place: { from: 0, to: 1 }, message: "Expected a mapping with the key `applications` at the top of the file." },
    ]);

  const parsed = parseDeployConfig(input);
  if (parsed.issues !== undefined)
    return all(
      parsed.issues.map((issue) => ({ place: placeOf(document, issue), message: issueMessage(document, issue) })),
    );
  return {
    input: input as DeployInput,
    config: parsed.config,
    warnings: unsupportedKeys(input).map((key) => `${file}: \`${key}\` has no effect in this version of Skein.`),
  };
}

/** Where an issue is: an unknown key at the key, a missing one at its parent's key, anything else at the value. */
function placeOf(document: Document.Parsed, issue: ConfigIssue): Place {
  if (isUnknownKey(issue)) {
    const key = keyNode(document, issue.path);
    if (key?.range) return { from: key.range[0], to: key.range[1] };
  }
  for (let path = issue.path; ; path = path.slice(0, -1)) {
    const node = path.length === 0 ? document.contents : document.getIn(path, true);
    const missing = path.length < issue.path.length;
    const key = path.length === 0 ? undefined : keyNode(document, path);
    if (isScalar(node) && node.range && node.range[1] > node.range[0])
      return { from: node.range[0], to: node.range[1] };
    // Of a whole mapping or list, and of an empty value, its key is the best place to point at.
    if (key?.range) return { from: key.range[0], to: key.range[1] };
    if (isCollection(node) && node.range) return firstOf(node) ?? { from: node.range[0], to: node.range[0] + 1 };
    if (path.length === 0 || (!missing && node !== undefined)) return { from: 0, to: 1 };
  }
}

function firstOf(node: Node): Place | undefined {
  const item = isCollection(node) ? node.items[0] : undefined;
  const first = isPair(item) ? (item.key as Node | null) : (item as Node | undefined);
  return first?.range ? { from: first.range[0], to: first.range[1] } : undefined;
}

function keyNode(document: Document.Parsed, path: Path): Node | undefined {
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (!isMap(parent)) return undefined;
  const pair = parent.items.find((item) => isScalar(item.key) && String(item.key.value) === String(path.at(-1)));
  return pair === undefined ? undefined : (pair.key as Node);
}

const isUnknownKey = (issue: ConfigIssue): boolean => issue.message.startsWith("Unknown key ");

function issueMessage(document: Document.Parsed, issue: ConfigIssue): string {
  const where = pathText(issue.path);
  if (isUnknownKey(issue)) {
    const keys = knownKeys(issue.path.slice(0, -1));
    const near = nearest(String(issue.path.at(-1)), keys);
    return `${issue.message} ${near === undefined ? `Keys that go here: ${keys.join(", ")}.` : `Did you mean "${near}"?`}`;
  }
  // The messages that we wrote ourselves already say all; zod's own speak of types, which the schema says better.
  if (!/^(Invalid (input|option|type)|Too (small|big))/.test(issue.message))
    return where === "" ? issue.message : `${where}: ${issue.message}`;
  const expected = expectedForm(issue.path) ?? issue.message.replace(/^Invalid input: expected /, "");
  const value: unknown = issue.path.length === 0 ? document.toJS() : document.getIn(issue.path);
  return value === undefined
    ? `${where} is missing: expected ${expected}.`
    : `${where}: expected ${expected}; got ${inWords(value)}.`;
}

function inWords(value: unknown): string {
  if (typeof value === "string")
    return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (value === null) return "nothing";
  if (isMap(value)) return "a mapping";
  return isCollection(value) ? "a list" : JSON.stringify(value);
}

function syntaxMessage(code: string, message: string): string {
  if (code === "DUPLICATE_KEY") return "This key is there twice. Remove one of them.";
  if (code === "TAB_AS_INDENT") return "A tab as indentation: YAML wants spaces.";
  if (code === "MULTIPLE_DOCS") return "More than one document (`---`) in the file; expected one.";
  return `Not valid YAML: ${message.split("\n")[0] ?? message}${/[.!?]$/.test(message) ? "" : "."}`;
}

function inContext(text: string, file: string, lines: LineCounter, place: Place, message: string): string {
  const { line, col } = lines.linePos(Math.min(place.from, text.length));
  const at = { line: Math.max(1, line), col: Math.max(1, col) };
  const start = lines.lineStarts[at.line - 1] ?? 0;
  const full = (text.slice(start).split(/\r?\n/, 1)[0] ?? "").replaceAll("\t", " ");
  const cut = at.col > LINE_SHOWN - 20 ? at.col - 40 : 0;
  const shown = full.slice(cut, cut + LINE_SHOWN);
  const width = Math.max(1, Math.min(place.to - place.from, shown.length - (at.col - 1 - cut)));
  const gutter = String(at.line);
  return [
    `${file}:${at.line}:${at.col}: ${message}`,
    `  ${gutter} | ${shown}`.trimEnd(),
    `  ${" ".repeat(gutter.length)} | ${" ".repeat(at.col - 1 - cut)}${"^".repeat(width)}`,
  ].join("\n");
}
