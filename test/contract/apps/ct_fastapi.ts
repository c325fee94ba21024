import { deployment } from "skein";

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

/** The streaming routes of the FastAPI application; the others have no counterpart: a router is the user's choice. */
class Fa {
  fetch(request: Request) {
    const { pathname } = new URL(request.url);
    const boom = pathname.endsWith("/sse_boom");
    if (!boom && !pathname.endsWith("/sse")) return new Response("Method Not Allowed", { status: 405 });
    return new Response(streamOf(events(boom)), { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  }
}
export const app = deployment(Fa, { rayActorOptions: { numCpus: 0 } }).bind();
