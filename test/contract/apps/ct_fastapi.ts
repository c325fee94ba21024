import { deployment, upgradeWebSocket, type Context, type WebSocketHandlers } from "skein";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function* events(boom: boolean) {
  for (let i = 0; i < 3; i += 1) {
    yield `data: ${i}\n\n`;
    await pause(150);
    if (boom) throw new Error("mid");
  }
}

/** Encoded piece by piece: TypeScript's DOM library has no ReadableStream.from. */
function streamOf(pieces: AsyncIterator<string> | Iterator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done === true) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
  });
}

/** What the sockets' handlers saw, in order. */
const seen: string[] = [];

const conversation = (scope: object): WebSocketHandlers => ({
  onOpen: () => void seen.push("open"),
  async onMessage(message, socket) {
    if (typeof message !== "string") return socket.send(message.toReversed());
    if (message.startsWith("close ")) return socket.close(Number(message.split(" ")[1]), "asked");
    if (message === "boom") throw new Error("ws boom");
    return socket.send(message === "scope" ? JSON.stringify(scope) : `echo:${message}`);
  },
  onClose: (code) => void seen.push(`disconnect ${code}`),
});

/** The streaming routes and sockets of the FastAPI application; the others have no counterpart: a router is the user's choice. */
class Fa {
  fetch(request: Request, ctx: Context) {
    const { pathname, search } = new URL(request.url);
    if (pathname.endsWith("/events")) return search === "?clear" ? seen.splice(0) : seen;
    if (pathname.endsWith("/ws")) {
      const offered = request.headers.get("sec-websocket-protocol")?.split(/, */) ?? [];
      const scope = { path: pathname, root_path: ctx.replica.routePrefix, query: search.slice(1) };
      return upgradeWebSocket(request, conversation(scope), offered.includes("chat") ? "chat" : "");
    }
    if (pathname.endsWith("/ws_reject")) return new Response(null, { status: 403 });
    const boom = pathname.endsWith("/sse_boom");
    if (!boom && !pathname.endsWith("/sse")) return new Response("Method Not Allowed", { status: 405 });
    return new Response(streamOf(events(boom)), { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  }
}
export const app = deployment(Fa, { rayActorOptions: { numCpus: 0 } }).bind();
