/** A hub of one model, `hf:someone/tiny`, that stops half-way in its file until it is told to go on. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { listening } from "./listening.ts";

const COMMIT = "c".repeat(40);

/** A hub with one model, of whose file it sends the last part when it is told to. */
export async function slowHub(file: Buffer) {
  const release = Promise.withResolvers<void>();
  const sha256 = createHash("sha256").update(file).digest("hex");
  const tree = [{ type: "file", path: "tiny.gguf", size: file.length, oid: "0".repeat(40), lfs: { oid: sha256 } }];
  const server = createServer(async (request, response) => {
    const json = (value: unknown) => void response.end(JSON.stringify(value));
    if (request.url === "/api/models/someone/tiny/revision/main") return json({ sha: COMMIT });
    if (request.url?.startsWith(`/api/models/someone/tiny/tree/${COMMIT}`)) return json(tree);
    const [, from = "0", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const end = to === "" ? file.length : Math.min(file.length, Number(to) + 1);
    response.writeHead(206, {
      "content-length": end - Number(from),
      "content-range": `bytes ${from}-${end - 1}/${file.length}`,
    });
    if (to !== "") return void response.end(file.subarray(Number(from), end));
    // Long enough for somebody to look at how fast it goes.
    const piece = Math.floor(file.length / 100);
    let at = Number(from);
    for (; at < file.length / 2; at += piece) {
      response.write(file.subarray(at, at + piece));
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    await release.promise;
    response.end(file.subarray(at));
  });
  const served = await listening(server);
  return {
    endpoint: served.endpoint,
    release: () => release.resolve(),
    async [Symbol.asyncDispose]() {
      release.resolve();
      await served[Symbol.asyncDispose]();
    },
  };
}
