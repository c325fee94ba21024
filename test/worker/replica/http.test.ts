import { expect, test } from "vitest";
import { FRAME_PAYLOAD_MAX, STREAM_WINDOW } from "../../../protocol/limits.ts";
import { deployment, upgradeWebSocket, type Context, type Message } from "../../../serve/index.ts";
import { bench, turns } from "./bench.ts";

/** A deployment D whose fetch is the given function. */
const served = (fetch: (request: Request, ctx: Context) => unknown, options = {}) =>
  bench(deployment({ fetch }, { name: "D" }).bind() as never, options);

test("a plain answer is accept, head, chunk and end in one message", async () => {
  const { ingress } = await served(() => "ok");
  const before = ingress.messages;
  const sent = ingress.http();
  const reply = await sent.done;
  expect(reply).toMatchObject({
    accepted: true,
    head: { status: 200, headers: ["content-type", "text/plain; charset=utf-8"] },
    end: {},
  });
  expect(sent.text()).toBe("ok");
  expect(ingress.messages - before).toBe(1);
});

test("the textbook's handler reads the JSON body (C051) and a malformed one is a 500 (X-TXT-02)", async () => {
  const { ingress, logs } = await served(async (request) => `You said: ${await request.json()}`);
  const sent = ingress.http({}, '"你好"');
  await sent.done;
  expect(sent.text()).toBe("You said: 你好");
  expect((await ingress.http({}, "not json").done).fail).toMatchObject({
    code: "APPLICATION_ERROR",
    message: /SyntaxError/,
  });
  expect((await ingress.http().done).fail).toMatchObject({ code: "APPLICATION_ERROR" });
  expect(logs.join()).toContain("Request r-1 failed: SyntaxError");
});

test("what throws before the first piece fails, after it the stream breaks (C043, C040)", async () => {
  const { ingress } = await served((request) =>
    (async function* () {
      if (request.url.endsWith("?boom=0")) throw new Error("at once");
      yield "data: 0";
      throw new Error("mid");
    })(),
  );
  const early = await ingress.http({ path: "/?boom=0" }).done;
  expect(early).toMatchObject({ fail: { code: "APPLICATION_ERROR" } });
  expect(early.head).toBeUndefined();
  const late = ingress.http();
  expect(await late.done).toMatchObject({
    head: { status: 200 },
    fail: { code: "APPLICATION_ERROR", message: "Error: mid" },
  });
  expect(late.text()).toBe("data: 0");
});

test("a stopped reader stops the generator within the window; reading goes on where it stopped", async () => {
  let made = 0;
  const { ingress } = await served(() =>
    (async function* () {
      for (; made < 1000; made++) yield new Uint8Array(1024).fill(made % 256);
    })(),
  );
  ingress.paused = true;
  const sent = ingress.http();
  await turns(50);
  const stopped = made;
  expect(stopped).toBeLessThan(STREAM_WINDOW / 1024 + 8);
  await turns(20);
  expect(made).toBe(stopped);
  ingress.paused = false;
  const held = sent.reply.chunks.reduce((sum, c) => sum + c.payload.byteLength + 16, 0);
  sent.stream.consumed(held);
  await sent.done;
  expect(sent.reply.chunks.map((c) => c.payload[0])).toEqual(Array.from({ length: 1000 }, (_, i) => i % 256));
});

test("a large body arrives whole and the request is then done", async () => {
  const { ingress, replica } = await served(() => new Uint8Array(5 * STREAM_WINDOW + 1).fill(7));
  const sent = ingress.http();
  await sent.done;
  expect(sent.text().length).toBe(5 * STREAM_WINDOW + 1);
  await turns();
  expect(replica.ongoing).toBe(0);
});

test("an upload is pulled: an unread body holds back its sender at the window", async () => {
  const go = Promise.withResolvers<void>();
  let read = 0;
  const { ingress } = await served(async (request) => {
    await go.promise;
    for await (const piece of request.body as unknown as AsyncIterable<Uint8Array>) read += piece.byteLength;
    return String(read);
  });
  const sent = ingress.http({}, new Uint8Array(4 * STREAM_WINDOW));
  await turns(100);
  expect(sent.stream.writable).toBe(false);
  go.resolve();
  await sent.done;
  expect(sent.text()).toBe(String(4 * STREAM_WINDOW));
});

test("cancelling aborts ctx.signal first, then returns the generator, and frees the place", async () => {
  const log: string[] = [];
  const { ingress, replica } = await served((_request, ctx) =>
    (async function* () {
      ctx.signal.addEventListener("abort", () => log.push("signal"));
      try {
        for (;;) {
          yield "x";
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        log.push("finally");
      }
    })(),
  );
  const sent = ingress.http();
  await turns();
  expect(replica.ongoing).toBe(1);
  sent.stream.cancel("the client is gone");
  await turns();
  expect(log).toEqual(["signal", "finally"]);
  expect(replica.ongoing).toBe(0);
});

test("cancelling calls return() of an iterator that is waiting for its next piece", async () => {
  const wait = Promise.withResolvers<IteratorResult<string>>();
  const { ingress, replica } = await served(() => ({
    [Symbol.asyncIterator]: () => ({
      next: () => wait.promise,
      return: async () => (wait.resolve({ done: true, value: undefined }), { done: true, value: undefined }),
    }),
  }));
  const sent = ingress.http();
  await turns();
  sent.stream.cancel("the client is gone");
  await expect(Promise.race([wait.promise, turns(50)])).resolves.toMatchObject({ done: true });
  expect(replica.ongoing).toBe(0);
});

test("a lost link calls off what came by it", async () => {
  let reason: unknown;
  const { ingress } = await served(
    (_request, ctx) =>
      new Promise((_, reject) =>
        ctx.signal.addEventListener("abort", () => ((reason = ctx.signal.reason), reject(ctx.signal.reason))),
      ),
  );
  ingress.http();
  await turns();
  ingress.drop();
  await turns();
  expect(reason).toMatchObject({ code: "CANCELLED" });
});

test("the deadline fails the request with TIMEOUT and aborts its signal", async () => {
  let aborted = false;
  const { ingress, time } = await served(
    (_request, ctx) => new Promise(() => ctx.signal.addEventListener("abort", () => void (aborted = true))),
  );
  const sent = ingress.http({ deadlineMs: 1000 });
  await time.advance(900);
  expect(sent.reply.fail).toBeUndefined();
  await time.advance(500);
  expect(sent.reply.fail).toMatchObject({ code: "TIMEOUT" });
  expect(aborted).toBe(true);
});

test("above max_ongoing_requests the replica says busy and runs nothing; a cancelled request frees its place even if it goes on", async () => {
  let started = 0;
  const { ingress } = await served(() => (started++, new Promise(() => {})), { spec: { maxOngoingRequests: 2 } });
  const two = [ingress.http(), ingress.http()];
  expect((await ingress.http().done).busy).toBe(true);
  expect(started).toBe(2);
  two[0]!.stream.cancel("gone");
  const third = ingress.http();
  await turns();
  expect(third.reply.accepted).toBe(true);
  third.stream.cancel("gone");
  for (let i = 0; i < 20; i++) {
    const sent = ingress.http();
    await turns(4);
    sent.stream.cancel("gone");
    await turns(4);
  }
  // Abandoned requests are bounded too: one that runs, and 4 x 2 that ignore their signal.
  expect(started).toBe(9);
});

test("a Response with a body streams it; url and context are the request's", async () => {
  const { ingress } = await served((request, ctx) =>
    Response.json(
      { url: request.url, id: ctx.requestId, model: ctx.multiplexedModelId, replica: ctx.replica.replicaId },
      { status: 201 },
    ),
  );
  const sent = ingress.http({ path: "/a?b=1", mount: "/serve/app", model: "m1" });
  expect((await sent.done).head).toEqual({ status: 201, headers: ["content-type", "application/json"] });
  expect(JSON.parse(sent.text())).toEqual({
    url: "http://h/serve/app/a?b=1",
    id: "r-1",
    model: "m1",
    replica: "app#D#abcdefgh",
  });
});

test("WebSockets: messages both ways, large ones too, close codes kept, refusal is 403", async () => {
  const log: string[] = [];
  const { ingress, replica } = await served((request) => {
    if (request.url.endsWith("/no")) return "no socket here";
    return upgradeWebSocket(
      request,
      {
        onOpen: (socket) => socket.send("hello"),
        onMessage: async (message: Message, socket) => {
          if (message === "bye") return socket.close(4001, "asked");
          await socket.send(typeof message === "string" ? `echo:${message}` : message.toReversed());
        },
        onClose: (code, reason) => void log.push(`${code} ${reason}`),
      },
      "chat",
    );
  });
  // As the ingress forwards them: without the lines about the connection.
  const headers = ["host", "h"];
  const sent = ingress.http({ upgrade: true, headers });
  sent.stream.write("text", Buffer.from("a"));
  sent.stream.write("bytes", new Uint8Array([1, 2]));
  sent.stream.write("text", Buffer.from("z".repeat(FRAME_PAYLOAD_MAX + 10)));
  sent.stream.write("text", Buffer.from("bye"));
  const reply = await sent.done;
  expect(reply.head).toEqual({ status: 101, headers: ["sec-websocket-protocol", "chat"] });
  expect(reply.end).toEqual({ close: { code: 4001, reason: "asked" } });
  const types = reply.chunks.map((c) => `${c.type} ${c.payload.byteLength}${c.more ? " more" : ""}`);
  expect(types).toEqual(["text 5", "text 6", "bytes 2", `text ${FRAME_PAYLOAD_MAX} more`, "text 15"]);
  expect([...reply.chunks[2]!.payload]).toEqual([2, 1]);
  await turns();
  expect(log).toEqual(["4001 asked"]);

  expect((await ingress.http({ upgrade: true, headers, path: "/no" }).done).head?.status).toBe(403);
  const leaving = ingress.http({ upgrade: true, headers });
  await turns();
  leaving.stream.end({ close: { code: 1001, reason: "away" } });
  await leaving.done;
  const gone = ingress.http({ upgrade: true, headers });
  await turns();
  gone.stream.cancel("gone");
  await turns();
  const broken = ingress.http({ upgrade: true, headers });
  await turns();
  broken.stream.end({ close: { code: 1006, reason: "" } });
  await broken.done;
  expect(log).toEqual(["4001 asked", "1001 away", "1006 ", "1006 "]);
  expect(replica.ongoing).toBe(0);
});
