/** A fake hub on 127.0.0.1 with its listing and its files, for the tests of `hf:` names: it can ask for a token, cut, and fail. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { listening } from "./listening.ts";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const TOKEN = "hf_secret";

export interface HubBehaviour {
  /** Answers nobody without the token. */
  readonly isPrivate?: boolean;
  /** Drops the connection after so many bytes of a file, so many times. */
  readonly cutAfter?: number;
  readonly cuts?: number;
  /** What the first requests get. */
  readonly troubles?: readonly { readonly status: number; readonly headers?: Record<string, string> }[];
  /** Before each answer, ms. */
  readonly delayMs?: number;
}

/** A hub with one repository, `someone/model`, which names large files by their SHA-256 and small ones as git does. */
export async function startHub(
  files: ReadonlyMap<string, Uint8Array>,
  { isPrivate = false, cuts = 0, cutAfter = 0, troubles = [], delayMs = 0 }: HubBehaviour = {},
) {
  const troublesLeft = [...troubles];
  let cutsLeft = cuts;
  const asked: string[] = [];
  const isLarge = (name: string): boolean => /\.(gguf|safetensors)$/.test(name);
  const entry = ([path, bytes]: [string, Uint8Array]): object => {
    const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    const lfs = { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length };
    return { type: "file", path, size: bytes.length, oid, ...(isLarge(path) ? { lfs } : {}) };
  };
  const server = createServer(async (request, response) => {
    const { range, authorization } = request.headers;
    asked.push(`${request.url}${range === undefined ? "" : ` ${range}`}`);
    await setTimeout(delayMs);
    const trouble = troublesLeft.shift();
    if (trouble !== undefined) return void response.writeHead(trouble.status, trouble.headers).end();
    const answer = (value: unknown): void => void response.end(JSON.stringify(value));
    if (isPrivate && authorization !== `Bearer ${TOKEN}`) return void response.writeHead(401).end();
    if (request.url === "/api/models/someone/model/revision/main") return answer({ sha: COMMIT });
    if (request.url === `/api/models/someone/model/tree/${COMMIT}?recursive=true`)
      return answer([{ type: "directory", path: "onnx", size: 0 }, ...[...files].map(entry)]);
    const bytes = files.get(request.url!.replace(`/someone/model/resolve/${COMMIT}/`, ""));
    if (bytes === undefined) return void response.writeHead(404).end();
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "bytes=0-")!;
    const end = to === "" ? bytes.length : Math.min(bytes.length, Number(to) + 1);
    response.writeHead(206, { "content-range": `bytes ${from}-${end - 1}/${bytes.length}` });
    const body = bytes.subarray(Number(from), end);
    if (to !== "" || body.length <= cutAfter || cutsLeft-- <= 0) return void response.end(body);
    response.flushHeaders();
    return void response.write(body.subarray(0, cutAfter), () => response.destroy());
  });
  return { asked, ...(await listening(server)) };
}
