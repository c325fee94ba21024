/**
 * Reads one entry of a zip archive (a wheel is one) as a stream, without loading the archive. Knows the format (APPNOTE 4.3) as far
 * as wheels use it: stored and deflated entries, no encryption, no zip64. Every size is checked before it is believed.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream";
import { createInflateRaw } from "node:zlib";
import { SkeinError } from "../../protocol/errors.ts";
import { ZIP_DIRECTORY_MAX } from "./limits.ts";

const END = { signature: 0x06054b50, bytes: 22, commentMax: 0xffff };
const CENTRAL = { signature: 0x02014b50, bytes: 46 };
const LOCAL = { signature: 0x04034b50, bytes: 30 };
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;

interface Entry {
  readonly method: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  readonly localHeader: number;
}

/** Content of the entry `name`, inflated. `INVALID_ARGUMENT` if the archive is broken, lacks it, or its size isn't `bytes`. */
export async function openZipEntry(path: string, name: string, bytes: number): Promise<Readable> {
  const file = await open(path);
  try {
    const entry = await findEntry(file, name);
    if (entry.bytes !== bytes) throw broken(`${name} has ${entry.bytes} bytes, expected ${bytes}`);
    const header = await readExactly(file, entry.localHeader, LOCAL.bytes);
    if (header.readUInt32LE(0) !== LOCAL.signature) throw broken(`no local header of ${name}`);
    // Name and extra field may differ in length from the central directory's.
    const start = entry.localHeader + LOCAL.bytes + header.readUInt16LE(26) + header.readUInt16LE(28);
    const raw = createReadStream(path, { start, end: start + entry.compressedBytes - 1 });
    if (entry.method === STORED) return raw;
    return pipeline(raw, createInflateRaw(), () => undefined); // an error ends the returned stream too
  } finally {
    await file.close();
  }
}

async function findEntry(file: FileHandle, name: string): Promise<Entry> {
  const { size } = await file.stat();
  const tailBytes = Math.min(size, END.bytes + END.commentMax);
  const tail = await readExactly(file, size - tailBytes, tailBytes);
  const end = lastSignature(tail);
  if (end < 0) throw broken("no end of central directory");
  const directoryBytes = tail.readUInt32LE(end + 12);
  if (directoryBytes > ZIP_DIRECTORY_MAX) throw broken(`a central directory of ${directoryBytes} bytes`);

  const directory = await readExactly(file, tail.readUInt32LE(end + 16), directoryBytes);
  for (let at = 0; at + CENTRAL.bytes <= directory.length;) {
    if (directory.readUInt32LE(at) !== CENTRAL.signature) throw broken("a bad entry in the central directory");
    const nameEnd = at + CENTRAL.bytes + directory.readUInt16LE(at + 28);
    if (directory.toString("utf8", at + CENTRAL.bytes, nameEnd) === name) {
      const method = directory.readUInt16LE(at + 10);
      if ((directory.readUInt16LE(at + 8) & ENCRYPTED) !== 0 || (method !== STORED && method !== DEFLATED)) {
        throw broken(`${name} is encrypted or packed by method ${method}`);
      }
      return {
        method,
        compressedBytes: directory.readUInt32LE(at + 20),
        bytes: directory.readUInt32LE(at + 24),
        localHeader: directory.readUInt32LE(at + 42),
      };
    }
    at = nameEnd + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  throw broken(`no entry ${name}`);
}

function lastSignature(tail: Buffer): number {
  for (let at = tail.length - END.bytes; at >= 0; at -= 1) if (tail.readUInt32LE(at) === END.signature) return at;
  return -1;
}

async function readExactly(file: FileHandle, position: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, position);
  if (bytesRead !== bytes) throw broken("it ends too early");
  return buffer;
}

function broken(what: string): SkeinError {
  return new SkeinError("INVALID_ARGUMENT", `broken zip archive: ${what}`);
}
