/** A fake coordinator's REST API: says what a test wants and remembers what it was asked. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

export interface FakeOperators extends AsyncDisposable {
  readonly url: string;
  readonly asked: Asked[];
}

/** `answer` returns status and body (a string as it is, anything else as JSON). */
export async function fakeOperators(
  answer: (asked: Asked) => [status: number, body?: unknown],
): Promise<FakeOperators> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      const one = {
        method: request.method ?? "",
        path: request.url ?? "",
        authorization: request.headers.authorization,
        body,
      };
      asked.push(one);
      const [status, value = ""] = answer(one);
      response
        .writeHead(status, { connection: "close" })
        .end(typeof value === "string" ? value : JSON.stringify(value));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const piece of request) text += String(piece);
  return text;
}
