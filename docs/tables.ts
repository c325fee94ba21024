/** The tables of docs/PROTOCOL.md and docs/CLI.md, made from the code that they describe. Pure. */
import { z } from "zod";
import { program } from "../cli/program.ts";
import { fromCoordinatorSchema, toCoordinatorSchema } from "../protocol/control.ts";
import { ERROR_CODES, EXIT, OUTSIDE } from "../protocol/errors.ts";
import { FLAG, FRAME_HEADER, KIND } from "../protocol/frame.ts";
import * as limits from "../protocol/limits.ts";
import { ticketSchema } from "../protocol/ticket.ts";
import type { Command } from "commander";

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");
const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``;

/** What each frame carries; a kind without a line here fails to compile. */
const FRAMES: Readonly<Record<keyof typeof KIND, readonly [value: string, payload: string]>> = {
  hello: ["", "msgpack map: min, max, build, features; of the dialler: ticket; of the listener: ingress, timeMs"],
  open: ["", "msgpack array: the head of a request, call or gRPC call"],
  accept: ["load", "none: the replica has taken the stream"],
  busy: ["load", "none: it has max_ongoing_requests in hand; the stream is closed"],
  head: ["", "msgpack array: status, headers, resume context"],
  chunk: ["sequence number", "a piece of body: bytes, text or a msgpack value, by flags"],
  end: ["load", "msgpack: trailers, gRPC status, usage, close code; half-closes (opener) or closes (acceptor)"],
  fail: ["", "msgpack: error code, message, gRPC status; closes"],
  cancel: ["", "msgpack: why; closes"],
  credit: ["bytes granted", "none; on stream 0 for the whole link"],
  load: ["load", "none"],
  goaway: ["", "msgpack: why; no new streams, those that run go on"],
  ping: ["nonce", "none"],
  pong: ["nonce", "none"],
};

type JsonSchema = {
  properties?: Record<string, JsonSchema & { const?: unknown }>;
  required?: string[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  type?: string;
  const?: unknown;
  enum?: unknown[];
  items?: JsonSchema;
};

const variants = (schema: z.ZodType): JsonSchema[] => {
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema;
  return json.anyOf ?? json.oneOf ?? [json];
};

function typeName(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((v) => JSON.stringify(v)).join(" or ");
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return [...new Set(options.map(typeName))].join(" or ");
  if (schema.type === "array") return `list of ${schema.items === undefined ? "anything" : typeName(schema.items)}`;
  return schema.type ?? "anything";
}

const messages = (schema: z.ZodType, name: string): string =>
  table(
    [name, "fields (? = may be left out)"],
    variants(schema).map((variant) => {
      const { properties = {}, required = [] } = variant;
      const fields = Object.entries(properties).filter(([key]) => key !== name);
      return [
        code(String(properties[name]?.const)),
        fields
          .map(([key, value]) => `${code(key + (required.includes(key) ? "" : "?"))} ${typeName(value)}`)
          .join(", ") || "none",
      ];
    }),
  );

/** Each table by the name of its marker. */
export function tables(): Readonly<Record<string, string>> {
  const flags = Object.entries(FLAG).map(([name, bits]) => [name, String(bits)]);
  return {
    frames: `Header: ${FRAME_HEADER} bytes.\n\n${table(
      ["kind", "name", "`value`", "payload"],
      Object.entries(KIND).map(([name, n]) => [String(n), code(name), ...FRAMES[name as keyof typeof KIND]]),
    )}`,
    flags: table(["flag", "bits"], flags),
    "to-coordinator": messages(toCoordinatorSchema, "type"),
    "from-coordinator": messages(fromCoordinatorSchema, "type"),
    tickets: messages(ticketSchema, "use"),
    errors: table(
      ["code", "HTTP", "gRPC", "exit"],
      ERROR_CODES.map((name) => [
        code(name),
        String(OUTSIDE[name].http),
        String(OUTSIDE[name].grpc),
        String(OUTSIDE[name].exit),
      ]),
    ),
    limits: table(
      ["limit", "value"],
      Object.entries(limits)
        .filter(([name]) => !/^[KM]IB$/.test(name))
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, value]) => [code(name), Number(value).toLocaleString("en")]),
    ),
    exits: table(
      ["exit code", "meaning"],
      Object.entries(EXIT).map(([name, n]) => [String(n), name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`)]),
    ),
    verbs: verbs(program(() => {})).join("\n\n"),
  };
}

function verbs(command: Command, path = "skein"): string[] {
  return command.commands.flatMap((child) => {
    if (["help", "quickstart"].includes(child.name())) return [];
    const name = `${path} ${child.name()}`;
    if (child.commands.length > 0) return verbs(child, name);
    const own = child.options
      .filter((option) => !option.hidden)
      .map((option) => [code(option.flags), option.description.replaceAll("|", "\\|")]);
    return [
      `### ${`${name} ${child.usage().replace(/^\[options\] ?/, "")}`.trimEnd()}\n\n${sentence(child.description())}\n\n${table(["option", ""], own)}`,
    ];
  });
}

const sentence = (text: string): string => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}.`;

/** `text` with every block between `<!-- table: name -->` and `<!-- end -->` made anew. Throws for an unknown name. */
export function withTables(text: string): string {
  const made = tables();
  return text.replace(
    /(<!-- table: ([\w-]+) -->\n)[^]*?(<!-- end -->)/g,
    (_, open: string, name: string, close: string) => {
      const content = made[name];
      if (content === undefined)
        throw new Error(`No table is called "${name}"; there are: ${Object.keys(made).join(", ")}.`);
      return `${open}\n${content}\n\n${close}`;
    },
  );
}
