/**
 * Methods of an application's gRPC services by path, with codecs of their messages, made from the descriptors of its manifest.
 * Messages are plain objects of @bufbuild/protobuf: fields in camelCase, 64-bit integers as bigint, oneofs as { case, value }.
 */
import {
  create,
  createFileRegistry,
  fromBinary,
  toBinary,
  type DescField,
  type DescMessage,
  type DescMethod,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { SkeinError } from "../../protocol/errors.ts";
import { fromBase64 } from "../../protocol/grpc.ts";

export interface GrpcMethod {
  readonly name: string;
  readonly clientStreams: boolean;
  readonly serverStreams: boolean;
  /** Throws `INVALID_ARGUMENT`. */
  decode(bytes: Uint8Array): unknown;
  /** What user code returned; plain objects need only the fields that they set. Throws `APPLICATION_ERROR` naming field and type. */
  encode(value: unknown): Uint8Array;
}

export type GrpcMethods = ReadonlyMap<string, GrpcMethod>;

/** By `/package.Service/Method`. */
export function grpcMethods(grpc: { readonly services: readonly string[]; readonly descriptors: string }): GrpcMethods {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, fromBase64(grpc.descriptors)));
  const methods = new Map<string, GrpcMethod>();
  for (const name of grpc.services)
    for (const method of registry.getService(name)?.methods ?? [])
      methods.set(`/${name}/${method.name}`, methodOf(method));
  return methods;
}

function methodOf({ name, input, output, methodKind }: DescMethod): GrpcMethod {
  return {
    name,
    clientStreams: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    serverStreams: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    decode: (bytes) => {
      try {
        return fromBinary(input, bytes);
      } catch (cause) {
        throw new SkeinError("INVALID_ARGUMENT", `The message is not a ${input.typeName}: ${messageOf(cause)}.`, {
          cause,
        });
      }
    },
    encode: (value) => {
      if (typeof value !== "object" && value !== undefined)
        throw wrong(name, output, `${JSON.stringify(value)} was returned`);
      if (value == null && output.fields.length > 0) throw wrong(name, output, "nothing was returned");
      try {
        return toBinary(output, create(output, init(output, value ?? {}) as never));
      } catch (cause) {
        if (cause instanceof SkeinError) throw cause;
        throw wrong(name, output, messageOf(cause));
      }
    },
  };
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
const wrong = (method: string, output: DescMessage, why: string): SkeinError =>
  new SkeinError(
    "APPLICATION_ERROR",
    `'${method}' must give an object with the fields of ${output.typeName} (${output.fields.map((f) => f.localName).join(", ")}): ${why}.`,
  );

/**
 * The fields that a plain object sets. Names that the message doesn't have are refused, because they would be lost without a word;
 * numbers are taken for 64-bit integers as long as they are exact.
 */
function init(message: DescMessage, value: object): object {
  if ("$typeName" in value) return value;
  const fields: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(value)) {
    if (given === undefined) continue;
    const field = message.fields.find((f) => f.localName === name || f.name === name);
    if (field === undefined && !message.oneofs.some((oneof) => oneof.localName === name))
      throw new SkeinError(
        "APPLICATION_ERROR",
        `${message.typeName} has no field '${name}'. It has: ${message.fields.map((f) => f.localName).join(", ")}.`,
      );
    if (field?.oneof !== undefined)
      fields[field.oneof.localName] = { case: field.localName, value: fieldValue(field, given) };
    else fields[field?.localName ?? name] = field === undefined ? given : fieldValue(field, given);
  }
  return fields;
}

function fieldValue(field: DescField, value: unknown): unknown {
  if (field.message !== undefined && field.fieldKind === "message" && typeof value === "object" && value !== null)
    return wellKnown(field.message) ? value : init(field.message, value);
  if (field.fieldKind === "list" && Array.isArray(value)) {
    if (field.listKind === "message" && !wellKnown(field.message))
      return value.map((item: unknown) =>
        typeof item === "object" && item !== null ? init(field.message, item) : item,
      );
    return field.listKind === "scalar" ? value.map((item: unknown) => scalar(field, item)) : value;
  }
  return field.fieldKind === "scalar" ? scalar(field, value) : value;
}

/** Types such as Struct and wrappers have shorthands of their own in @bufbuild/protobuf. */
const wellKnown = (message: DescMessage): boolean => message.typeName.startsWith("google.protobuf.");

/** Types by number (descriptor.proto): those with 64 bits (int64, uint64, fixed64, sfixed64, sint64), and string. */
const LONG: ReadonlySet<number> = new Set([3, 4, 6, 16, 18]);
const STRING = 9;

function scalar(field: DescField, value: unknown): unknown {
  // The codec would write whatever it is as text.
  if (field.scalar === STRING && typeof value !== "string")
    throw new SkeinError("APPLICATION_ERROR", `${String(field)}: expected a string, got ${typeof value}.`);
  return typeof value === "number" &&
    field.scalar !== undefined &&
    LONG.has(field.scalar) &&
    Number.isSafeInteger(value)
    ? BigInt(value)
    : value;
}
