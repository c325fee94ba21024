/**
 * What a method that is called by gRPC may know and say beside its message: `ctx.grpc`. Metadata in, status and trailing metadata out.
 * Knows no wire.
 */
import { SkeinError } from "../protocol/errors.ts";
import { fromBase64, GRPC_DETAILS_MAX, GRPC_STATUS, toBase64, type GrpcStatusName } from "../protocol/grpc.ts";
import type { FlatHeaders } from "../protocol/heads.ts";

/** Lines of trailing metadata, and characters of one value: they must fit the frame that ends the call. */
const TRAILING_MAX = 64;
const VALUE_MAX = 8 * 1024;
const NAME = /^[0-9a-z_.-]{1,128}$/;

/** Values of names that end in `-bin` are bytes, others text. */
export type MetadataValue = string | Uint8Array;

/** `ctx.grpc`: what a call by gRPC brings and may say beside its messages. */
export interface GrpcCall {
  /** `/package.Service/Method` */
  readonly path: string;
  /** Metadata that the client sent, in its order. */
  readonly metadata: readonly (readonly [name: string, value: MetadataValue])[];
  /** The status the call ends with, also when the method throws afterwards. A number or a name such as "DATA_LOSS". */
  setCode(code: number | GrpcStatusName): void;
  /** The text beside the status. */
  setDetails(details: string): void;
  /** Trailing metadata: replaces what was set before. Bytes need a name that ends in `-bin`. Throws `INVALID_ARGUMENT` for what can't be sent. */
  setTrailing(metadata: Readonly<Record<string, MetadataValue>>): void;
}

/** The call as the runtime holds it. */
export class GrpcCallState implements GrpcCall {
  readonly path: string;
  readonly #lines: FlatHeaders;
  code: number | null = null;
  details: string | null = null;
  trailing: FlatHeaders = [];

  constructor(path: string, lines: FlatHeaders) {
    this.path = path;
    this.#lines = lines;
  }

  get metadata(): readonly (readonly [string, MetadataValue])[] {
    const pairs: [string, MetadataValue][] = [];
    for (let i = 0; i + 1 < this.#lines.length; i += 2) {
      const name = this.#lines[i]!;
      const value = this.#lines[i + 1]!;
      pairs.push([name, name.endsWith("-bin") ? fromBase64(value) : value]);
    }
    return pairs;
  }

  setCode(code: number | GrpcStatusName): void {
    const number = typeof code === "number" ? code : GRPC_STATUS[code];
    if (!Number.isInteger(number) || number < 0 || number > 16)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `setCode: ${String(code)} is no gRPC status code (0 to 16, or a name such as "NOT_FOUND").`,
      );
    this.code = number;
  }

  setDetails(details: string): void {
    this.details = details.slice(0, GRPC_DETAILS_MAX);
  }

  setTrailing(metadata: Readonly<Record<string, MetadataValue>>): void {
    const entries = Object.entries(metadata);
    if (entries.length > TRAILING_MAX)
      throw new SkeinError("INVALID_ARGUMENT", `setTrailing: ${entries.length} lines; the limit is ${TRAILING_MAX}.`);
    this.trailing = entries.flatMap(([given, value]) => {
      const name = given.toLowerCase();
      if (!NAME.test(name) || name.startsWith("grpc-"))
        throw new SkeinError(
          "INVALID_ARGUMENT",
          `setTrailing: "${given}" is no metadata name (letters, digits, "_", ".", "-"; not "grpc-...").`,
        );
      const text = name.endsWith("-bin")
        ? toBase64(typeof value === "string" ? new TextEncoder().encode(value) : value)
        : value;
      if (typeof text !== "string" || !/^[\x20-\x7e]*$/.test(text))
        throw new SkeinError(
          "INVALID_ARGUMENT",
          `setTrailing: the value of "${given}" is not printable ASCII text. Give the name the ending "-bin" to send bytes.`,
        );
      if (text.length > VALUE_MAX)
        throw new SkeinError(
          "INVALID_ARGUMENT",
          `setTrailing: the value of "${given}" has more than ${VALUE_MAX} characters.`,
        );
      return [name, text];
    });
  }
}
