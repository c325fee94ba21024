/** Area http-conn: what goes over one connection, byte by byte. */
import { RawConnection, exchange, type RawAnswer } from "../raw.ts";
import type { HttpObserved } from "../recording.ts";
import { bytesOf, type Replay } from "../replay.ts";

const ANSWERED_WITHIN_MS = 20_000;

async function one(replay: Replay, step: number, bytes: string, method = "GET"): Promise<void> {
  replay.http(step, await exchange(replay.port, bytes, method));
}

/** X-CONN-01: three requests on one connection, then HTTP/1.0, after which the server closes. */
export async function keepAlive(replay: Replay): Promise<void> {
  const connection = await RawConnection.open(replay.port);
  try {
    for (const [step, path] of ["/echo/1", "/nowhere", "/-/healthz"].entries()) {
      connection.send(bytesOf({ method: "GET", path }, ""));
      replay.http(step, await connection.answer("GET"));
    }
    connection.send("GET /echo/10 HTTP/1.0\r\nhost: 127.0.0.1:8100\r\n\r\n");
    await closing(replay, 3, connection, 20_000);
  } finally {
    connection.close();
  }
  const old = await RawConnection.open(replay.port);
  old.send("GET /-/healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
  // A difference: it is kept.
  await closing(replay, 4, old, 1_000);
  old.close();
}

async function closing(replay: Replay, step: number, connection: RawConnection, withinMs: number): Promise<void> {
  const answer = await connection.answer("GET");
  replay.http(step, answer);
  const closed = await Promise.race([
    connection.closedByServer(),
    new Promise<false>((resolve) => setTimeout(() => resolve(false), withinMs)),
  ]);
  replay.json(
    step,
    "then",
    replay.observed<{ then: string }>(step).then,
    closed ? "connection closed by server" : "connection kept",
  );
}

const POST = "host: 127.0.0.1:8100\r\ntransfer-encoding: chunked\r\nconnection: close\r\n";

/** X-CONN-03: chunked request bodies, good and bad. */
export async function chunkedBodies(replay: Replay): Promise<void> {
  const start = `POST /echo/chunk HTTP/1.1\r\n${POST}`;
  await one(replay, 0, `${start}\r\n5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n`, "POST");
  await one(replay, 1, `${start}\r\n5\r\nhello\r\n0\r\nx-trailer: t\r\n\r\n`, "POST");
  await one(replay, 2, `${start}\r\nzz\r\nhello\r\n0\r\n\r\n`, "POST");
  await one(replay, 3, `${start}content-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, "POST");
}

/** X-CONN-04: the body waits for `100 Continue`. */
export async function expectContinue(replay: Replay): Promise<void> {
  const head = (path: string): string =>
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:8100\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n`;
  const good = await RawConnection.open(replay.port);
  good.send(head("/echo/e"));
  const before = await good.firstBytes();
  good.send("hello");
  const { before_body: expected, final } = replay.observed<{ before_body: string; final: HttpObserved }>(0);
  replay.json(0, "before_body", expected, before);
  replay.http(0, await good.answer("POST"), final);
  good.close();
  for (const [step, path] of [
    [1, "/nowhere"],
    [2, "/fa/plain"],
  ] as const) {
    const connection = await RawConnection.open(replay.port);
    connection.send(head(path));
    const line = (text: string): string => text.split("\r\n")[0] ?? "";
    replay.json(
      step,
      "first line",
      line(replay.observed<{ first_bytes: string }>(step).first_bytes),
      line(await connection.firstBytes()),
    );
    connection.close();
  }
}

/** X-CONN-05: in the order of the recording. */
export async function unusualRequests(replay: Replay): Promise<void> {
  const host = "host: 127.0.0.1:8100\r\n";
  const end = "connection: close\r\n\r\n";
  const get = "GET /-/healthz HTTP/1.1\r\n";
  const requests: Readonly<Record<string, string>> = {
    "garbage line": "this is not http\r\n\r\n",
    "no Host header (HTTP/1.1)": `${get}${end}`,
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "header without colon": `${get}${host}nocolon\r\n${end}`,
    "header line 70 KiB": `${get}${host}x-long: ${"a".repeat(70 * 1024)}\r\n${end}`,
    "request line 70 KiB": `GET /${"a".repeat(70 * 1024)} HTTP/1.1\r\n${host}${end}`,
    "absolute-form target": `GET http://127.0.0.1:8100/-/healthz HTTP/1.1\r\n${host}${end}`,
    "OPTIONS *": `OPTIONS * HTTP/1.1\r\n${host}${end}`,
    CONNECT: `CONNECT 127.0.0.1:80 HTTP/1.1\r\n${host}${end}`,
    "bare LF line ends": `${get}${host}${end}`.replaceAll("\r", ""),
    "content-length not a number": `POST /-/healthz HTTP/1.1\r\n${host}content-length: abc\r\n${end}`,
    "two differing content-lengths": `POST /-/healthz HTTP/1.1\r\n${host}content-length: 1\r\ncontent-length: 2\r\n${end}ab`,
    "upgrade: h2c": `${get}${host}connection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n`,
  };
  for (const [step, { request }] of replay.recording.steps.entries()) {
    const bytes = requests[String(request)];
    if (bytes === undefined) throw new Error(`There are no bytes for "${String(request)}".`);
    replay.http(step, await answered(replay.port, bytes));
  }
}

/** An answer that doesn't come within ANSWERED_WITHIN_MS counts as none. */
async function answered(port: number, bytes: string): Promise<RawAnswer | "closed"> {
  const connection = await RawConnection.open(port);
  connection.send(bytes);
  try {
    return await Promise.race([
      connection.answer("GET"),
      new Promise<"closed">((resolve) => setTimeout(() => resolve("closed"), ANSWERED_WITHIN_MS)),
    ]);
  } finally {
    connection.close();
  }
}
