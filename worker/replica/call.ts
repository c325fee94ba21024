/** Calls through handles: one msgpack array of arguments in, one value or a value per element out. */
import { SkeinError } from "../../protocol/errors.ts";
import { pack, unpack, type OpenCall } from "../../protocol/heads.ts";
import type { StreamEvents } from "../../protocol/stream.ts";
import { iteratorOf } from "../../serve/answer.ts";
import { IncomingMessages } from "./incoming.ts";
import type { Work } from "./work.ts";

export function serveCall(work: Work, head: OpenCall, ended: boolean): StreamEvents {
  const messages = new IncomingMessages(work.stream, ended);
  work.context.onCancel((reason) => messages.fail(reason));
  work.run(async () => {
    const args = await argumentsOf(messages);
    const { instance, context, stream, out } = work;
    if (head.stream) {
      const pieces = iteratorOf(await instance.iterate(head.method, args, context));
      if (await work.produce(pieces, (element) => out.write("value", pack(element)))) stream.end();
      return;
    }
    const value = await instance.call(head.method, args, context);
    if (context.cancelled !== undefined) return;
    await out.write("value", pack(value));
    stream.end();
  });
  const gone = (error: SkeinError): void => {
    messages.fail(error);
    work.cancel(error.code === "TIMEOUT" ? "TIMEOUT" : "CANCELLED", error.message);
  };
  return {
    onChunk: (payload, type, more, charge) => messages.onChunk(payload, type, more, charge),
    onEnd: () => messages.end(),
    onFail: (fail) => gone(new SkeinError(fail.code, fail.message)),
    onCancel: (reason) => gone(new SkeinError("CANCELLED", reason)),
    onWritable: () => work.out.resume(),
  };
}

async function argumentsOf(messages: IncomingMessages): Promise<readonly unknown[]> {
  const message = await messages.next();
  const args = message === undefined ? [] : unpack(message.bytes);
  if (!Array.isArray(args))
    throw new SkeinError("INVALID_ARGUMENT", "The arguments of a call must be one msgpack array.");
  return args;
}
