/** HTTP/1.1 at the client listener, on raw sockets. Cases C…, X-… are Ray Serve's recordings; `differs` says where and why we answer otherwise. */
import { connect, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import type { OpenHttp } from "../../protocol/heads.ts";
import type { Stream } from "../../protocol/stream.ts";
import { answering, bytes, raw, realAfter, type Handler } from "./running.ts";
import { bodyOf, get, none, one, rawInPieces, until } from "./opened.ts";

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/;
const echo = answering((head, body) => ({
  headers: ["content-type", "application/json"],
  body: JSON.stringify({ ...head, body }),
}));
const echoed = (text: string): OpenHttp & { body: string } => JSON.parse(bodyOf(text)) as OpenHttp & { body: string };
const waiting: Handler = (stream) => {
  stream.accept();
  return {};
};

describe("system paths (C002, C004, C007, C052)", () => {
  it("says what is missing before a table, and before a route", async () => {
    const running = await none();
    expect(await raw(running.port, get("/-/healthz"))).toMatch(
      /^HTTP\/1.1 503 [^]*Route table is not populated yet\.$/,
    );
    running.route({ apps: [{ name: "app", routePrefix: null, ingress: "D", grpcServices: [] }] });
    expect(bodyOf(await raw(running.port, get("/-/routes")))).toBe("Route table is not populated yet.");
    running.route({ head: false });
    expect(bodyOf(await raw(running.port, get("/-/healthz")))).toBe("No replicas are available yet.");
    running.route({ draining: true });
    expect(bodyOf(await raw(running.port, get("/-/healthz")))).toBe("This node is being drained.");
    running.route({ apps: [], deployments: [] });
    expect(bodyOf(await raw(running.port, get("/-/healthz")))).toBe("success");
    expect(bodyOf(await raw(running.port, get("/-/routes")))).toBe("{}");
  });
  it.each(["GET", "POST", "OPTIONS", "DELETE"])("%s /-/routes?x=1 lists routes", async (method) => {
    const running = await one(echo);
    const text = await raw(running.port, get("/-/routes?x=1").replace("GET", method));
    expect(text).toMatch(/^HTTP\/1.1 200 /);
    expect(text).toMatch(/content-type: application\/json\r\n/);
    expect(bodyOf(text)).toBe('{"/":"app"}');
  });
  it("HEAD has no body", async () => {
    const running = await one(echo);
    expect(bodyOf(await raw(running.port, get("/-/healthz").replace("GET", "HEAD")))).toBe("");
  });
  it("answers 404 in Ray's words, also for * and under a root path", async () => {
    const running = await none({ http: { root_path: "/serve" } });
    running.route({
      http: { root_path: "/serve" },
      apps: [{ name: "app", routePrefix: "/x", ingress: "D", grpcServices: [] }],
    });
    const text = await raw(running.port, get("/nowhere?a=1", "X-Request-ID: nf-1"));
    expect(text).toMatch(/^HTTP\/1.1 404 Not Found\r\n/);
    expect(text).toMatch(/content-type: text\/plain; charset=utf-8\r\n/);
    expect(text).toMatch(/x-request-id: nf-1\r\n/);
    expect(bodyOf(text)).toBe("Path '/nowhere' not found. Ping http://.../-/routes for available routes.");
    expect(bodyOf(await raw(running.port, get("*").replace("GET", "OPTIONS")))).toBe(
      "Path '*' not found. Ping http://.../-/routes for available routes.",
    );
    expect(bodyOf(await raw(running.port, get("/serve/-/routes")))).toBe('{"/x":"app"}');
  });
});

describe("what the replica sees", () => {
  it("gets path, mount and header lines, without hop-by-hop ones (X-HTTP-03)", async () => {
    const running = await one(echo);
    const head = echoed(
      await raw(
        running.port,
        get(
          "/a/b?x=1&y=%20z",
          "X-A: 1",
          "x-a: 2",
          "TE: trailers",
          "Keep-Alive: 1",
          "X-Hop: secret",
          "Connection: x-hop",
        ),
      ),
    );
    expect(head).toMatchObject({
      method: "GET",
      path: "/a/b?x=1&y=%20z",
      mount: "",
      scheme: "http",
      hops: 1,
      upgrade: false,
    });
    expect(head.headers.slice(0, -2)).toEqual(["host", "localhost", "x-a", "1", "x-a", "2"]);
    expect(head.headers.at(-2)).toBe("x-request-id");
    expect(head.remote).toMatch(/^127\.0\.0\.1:\d+$/);
  });
  it.each(["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])("%s reaches it (X-HTTP-04)", async (method) => {
    const running = await one(echo);
    expect(echoed(await raw(running.port, get("/m", "content-length: 0").replace("GET", method))).method).toBe(method);
  });
  it("gets chunked bodies, trailers dropped (X-CONN-03), and absolute-form targets (X-CONN-05)", async () => {
    const running = await one(echo);
    const chunked = `${get("/c", "transfer-encoding: chunked").replace("GET", "POST")}3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n`;
    expect(echoed(await raw(running.port, chunked)).body).toBe("abcde");
    expect(echoed(await raw(running.port, get("http://localhost/abs?q"))).path).toBe("/abs?q");
  });
  it("gets the model id of a multiplexed call", async () => {
    const running = await one(echo);
    expect(echoed(await raw(running.port, get("/", "serve_multiplexed_model_id: 7"))).model).toBe("7");
    expect(echoed(await raw(running.port, get("/", "Serve-Multiplexed-Model-Id: 8"))).model).toBe("8");
  });
});

describe("request ids (C019, C020)", () => {
  it.each([
    [["X-Request-ID: 123-234"], "123-234"],
    [["x-request-id: abc def"], "abc def"],
    [["X-Request-ID: first", "X-Request-ID: second"], "first"],
    [["X-Request-ID: "], ""],
    [[], UUID],
    [["x_request_id: under"], UUID],
  ])("%j -> %s", async (headers, id) => {
    const running = await one(echo);
    const text = await raw(running.port, get("/", ...headers));
    const sent = /\r\nx-request-id: ?(.*)\r\n/.exec(text)![1]!;
    if (typeof id === "string") expect(sent).toBe(id);
    else expect(sent).toMatch(id);
    expect(echoed(text).requestId).toBe(sent);
  });
  it("the handler's own wins, duplicate lines stay (C050)", async () => {
    const running = await one(
      answering(() => ({
        status: 418,
        headers: ["x-request-id", "mine", "set-cookie", "a=1", "set-cookie", "b=2"],
        body: "t",
      })),
    );
    const text = await raw(running.port, get("/"));
    expect(text).toMatch(/^HTTP\/1.1 418 /);
    expect(text.match(/x-request-id: .*/g)).toEqual(["x-request-id: mine"]);
    expect(text.match(/set-cookie: .*/g)).toEqual(["set-cookie: a=1", "set-cookie: b=2"]);
  });
});

describe("failures", () => {
  it.each([
    ["APPLICATION_ERROR", 500, "Internal Server Error"],
    ["INTERNAL", 500, "Internal Server Error"],
    ["REPLICA_DIED", 500, "Internal Server Error"],
    ["BACKPRESSURE", 503, "why"],
    ["UNAVAILABLE", 503, "why"],
    ["TIMEOUT", 408, "why"],
    ["INVALID_ARGUMENT", 400, "why"],
  ] as const)("%s is %i (C011: details stay inside)", async (code, status, body) => {
    const running = await one((stream) => {
      stream.accept();
      stream.fail({ code, message: "why" });
      return {};
    });
    const text = await raw(running.port, get("/", "X-Request-ID: e"));
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text).toContain("x-request-id: e\r\n");
    expect(bodyOf(text)).toBe(body);
  });
  it("refuses header lines that would split the answer, and an end without a head", async () => {
    const running = await one((stream, head) => {
      if (head.kind === "http" && head.path === "/bad") stream.head({ status: 200, headers: ["x", "a\r\nb: c"] });
      stream.end();
      return {};
    });
    expect(await raw(running.port, get("/bad"))).toMatch(/^HTTP\/1.1 500 /);
    expect(await raw(running.port, get("/"))).toMatch(/^HTTP\/1.1 500 /);
  });
  it("never lets a wrong content-length shift the next answer", async () => {
    const head = (stream: Stream, length: string): void => {
      stream.accept();
      stream.head({ status: 200, headers: ["content-length", length] });
    };
    const rest = (stream: Stream): void => {
      stream.write("bytes", bytes("abc"));
      stream.end();
    };
    const { port } = await one((stream) => (head(stream, "2"), rest(stream), {}));
    expect(bodyOf(await raw(port, get("/")))).toBe("abc");
    const streamed = async (length: string): Promise<string> => {
      let made!: Stream;
      const running = await one((stream) => (head((made = stream), length), {}));
      const request = get("/").replace("connection: close\r\n", "");
      return bodyOf(await rawInPieces(running.port, request, () => rest(made)));
    };
    expect(await streamed("2")).not.toContain("c");
    expect(await streamed("9")).toBe("abc");
  });
});

describe("timeouts (C022, C029-b)", () => {
  it.each([
    [undefined, "0.1", "Request r timed out after 0.1s."],
    [0.1, undefined, "Request r timed out after 0.1s."],
    [5, "0.2", "Request r timed out after 0.2s."],
    [1, undefined, "Request r timed out after 1.0s."],
  ])("configured %s, asked %s", async (configured, asked, body) => {
    const cancelled: string[] = [];
    const running = await one(
      (stream) => {
        stream.accept();
        return { onCancel: (reason) => void cancelled.push(reason) };
      },
      { http: configured === undefined ? {} : { request_timeout_s: configured } },
    );
    const text = await raw(
      running.port,
      get("/", "x-request-id: r", ...(asked === undefined ? [] : [`x-request-timeout-seconds: ${asked}`])),
    );
    expect(text).toMatch(/^HTTP\/1.1 408 /);
    expect(bodyOf(text)).toBe(body);
    await until(() => cancelled.length === 1);
  });
  it.each(["0", "-1", "60"])("x-request-timeout-seconds: %s overrides a short one", async (asked) => {
    const running = await one(
      (stream) => {
        stream.accept();
        setTimeout(() => {
          stream.head({ status: 200, headers: [] });
          stream.end();
        }, 150);
        return {};
      },
      { http: { request_timeout_s: 0.05 } },
    );
    expect(await raw(running.port, get("/", `x-request-timeout-seconds: ${asked}`))).toMatch(/^HTTP\/1.1 200 /);
  });
  it.each(["abc", ""])("x-request-timeout-seconds: '%s' is ignored", async (asked) => {
    const running = await one(waiting, { http: { request_timeout_s: 0.05 } });
    expect(await raw(running.port, get("/", `x-request-timeout-seconds: ${asked}`))).toMatch(/^HTTP\/1.1 408 /);
  });
  it("breaks a stream off without the last chunk", async () => {
    let expire!: () => void;
    const running = await one(
      (stream) => {
        stream.accept();
        stream.head({ status: 200, headers: ["content-type", "text/plain"] });
        stream.write("bytes", bytes("c0;"));
        return {};
      },
      {
        http: { request_timeout_s: 7 },
        after: (ms, callback) => {
          if (ms !== 7_000) return realAfter(ms, callback);
          expire = callback;
          return () => {};
        },
      },
    );
    const text = await rawInPieces(running.port, get("/"), () => expire());
    expect(bodyOf(text)).toBe("3\r\nc0;\r\n");
  });
});

describe("streams (C040, C045)", () => {
  it("sends each chunk when it is made, and ends with the last chunk", async () => {
    let made!: Stream;
    const running = await one((stream) => {
      made = stream;
      stream.accept();
      stream.head({ status: 301, headers: ["content-type", "foo/bar", "hello", "world"] });
      stream.write("bytes", bytes("hi_0"));
      return {};
    });
    const seen: string[] = [];
    const text = await raw(running.port, get("/"), undefined, (sofar) => {
      const next = /hi_(\d)(?![^]*hi_)/.exec(sofar)?.[1];
      if (next === undefined || seen.includes(next)) return;
      seen.push(next);
      if (next === "3") made.end();
      else made.write("bytes", bytes(`hi_${Number(next) + 1}`));
    });
    expect(text).toMatch(/^HTTP\/1.1 301 [^]*hello: world\r\n/);
    expect(bodyOf(text)).toBe("4\r\nhi_0\r\n4\r\nhi_1\r\n4\r\nhi_2\r\n4\r\nhi_3\r\n0\r\n\r\n");
  });
  it("joins the chunks of one turn and writes them with the end", async () => {
    let made!: Stream;
    const running = await one((stream) => {
      made = stream;
      stream.accept();
      stream.head({ status: 200, headers: [] });
      return {};
    });
    const text = await rawInPieces(running.port, get("/"), () => {
      for (let i = 0; i < 5; i++) made.write("bytes", bytes(`${i}`));
      made.end();
    });
    expect(bodyOf(text)).toBe("5\r\n01234\r\n0\r\n\r\n");
  });
  it("an error after the first chunk ends without the last chunk; a stream of events says so first", async () => {
    let made!: Stream;
    const running = await one((stream, head) => {
      made = stream;
      stream.accept();
      const events = head.kind === "http" && head.path === "/sse";
      stream.head({
        status: 200,
        headers: ["content-type", events ? "text/event-stream; charset=utf-8" : "text/plain"],
      });
      stream.write("bytes", bytes("data: 0\n\n"));
      return {};
    });
    const failing = async (path: string): Promise<string> =>
      bodyOf(
        await rawInPieces(running.port, get(path), () => made.fail({ code: "APPLICATION_ERROR", message: "secret" })),
      );
    expect(await failing("/")).toBe("9\r\ndata: 0\n\n\r\n");
    const sse = await failing("/sse");
    expect(sse).toContain('event: error\ndata: {"code":"APPLICATION_ERROR","message":"Internal Server Error"}\n\n');
    expect(sse).not.toContain("\r\n0\r\n");
  });
  it.each(["end", "destroy"] as const)(
    "a client that leaves (%s) cancels the handler; ?1 lets it run on (X-CAN-01)",
    async (how) => {
      const streams = new Map<string, Stream>();
      const cancelled: string[] = [];
      const running = await one((stream, head) => {
        stream.accept();
        streams.set(head.requestId, stream);
        return { onCancel: () => void cancelled.push(head.requestId) };
      });
      const asking = (id: string, ...headers: string[]): Socket => {
        const socket = connect(running.port, "127.0.0.1", () => {
          socket.write(get("/", `x-request-id: ${id}`, ...headers).replace("connection: close\r\n", ""));
        });
        return socket.on("error", () => {});
      };
      const kept = asking("kept", "x-request-disconnect-disabled: ?1");
      const plain = asking("plain");
      await until(() => streams.size === 2);
      kept[how]();
      plain[how]();
      await until(() => cancelled.length > 0);
      streams.get("kept")!.head({ status: 200, headers: [] });
      streams.get("kept")!.end();
      await until(() => running.ingress.mesh.pool("app", "D")!.ongoing === 0);
      expect(cancelled).toEqual(["plain"]);
    },
  );
  it("HEAD of a stream ends with the head and cancels the handler", async () => {
    const cancelled: string[] = [];
    const running = await one((stream) => {
      stream.accept();
      stream.head({ status: 200, headers: ["content-type", "x/y"] });
      return { onCancel: (reason) => void cancelled.push(reason) };
    });
    const text = await raw(running.port, get("/").replace("GET", "HEAD"));
    expect(bodyOf(text)).toBe("");
    expect(text).not.toContain("transfer-encoding");
    await until(() => cancelled.length === 1);
  });
});
