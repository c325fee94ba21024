/** A hub on 127.0.0.1 with one repository, `someone/model`. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const TOKEN = "hf_secret";

/** It names large files by their SHA-256 and small ones as git does. */
export async function startHub(files: ReadonlyMap<string, Uint8Array>, { isPrivate = false } = {}) {
  const asked: string[] = [];
  const isLarge = (name: string): boolean => /\.(gguf|safetensors)$/.test(name);
  const entry = ([path, bytes]: [string, Uint8Array]): object => {
    const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    const lfs = { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length };
    return { type: "file", path, size: bytes.length, oid, ...(isLarge(path) ? { lfs } : {}) };
  };
  const server = createServer((request, response) => {
    const { range, authorization } = request.headers;
    asked.push(`${request.url}${range === undefined ? "" : ` ${range}`}`);
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
    response.end(bytes.subarray(Number(from), end));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    asked,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
