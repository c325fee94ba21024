/**
 * gRPC calls: message bytes in and out of `instance.method(message, ctx)`, by the descriptors of the application's manifest.
 * The method has the RPC's name, or that name with a small first letter. Requests that stream are async iterables; answers that stream are
 * what the method yields. `ctx.grpc` has metadata, and sets the status.
 */
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import { GRPC_DETAILS_MAX, GRPC_STATUS } from "../../protocol/grpc.ts";
import type { EndHead, OpenGrpc } from "../../protocol/heads.ts";
import type { StreamEvents } from "../../protocol/stream.ts";
import { iteratorOf } from "../../serve/answer.ts";
import { GrpcCallState } from "../../serve/grpc.ts";
import { isIterable } from "../../serve/instance.ts";
import type { GrpcMethod, GrpcMethods } from "./grpc-methods.ts";
import { IncomingMessages } from "./incoming.ts";
import type { Work } from "./work.ts";

/** `methods`: null where the application has no gRPC services. */
export function serveGrpc(
  work: Work,
  head: OpenGrpc,
  ended: boolean,
  methods: Promise<GrpcMethods> | null,
): StreamEvents {
  const messages = new IncomingMessages(work.stream, ended);
  const call = new GrpcCallState(head.path, head.metadata);
  work.context.grpc = call;
  work.run(async () => {
    try {
      const method = (await methods)?.get(head.path);
      if (method === undefined) throw new SkeinError("UNIMPLEMENTED", `This application does not serve ${head.path}.`);
      if (await respond(work, method, messages)) work.stream.end(endOf(call));
    } catch (error) {
      work.fail(error, failureOf(call, error));
    }
  });
  const gone = (error: SkeinError): void => {
    messages.fail(error);
    work.cancel(error.code === "TIMEOUT" ? "TIMEOUT" : "CANCELLED", error.message);
  };
  return {
    onChunk: (payload, _type, more, charge) => messages.onChunk(payload, "bytes", more, charge),
    onEnd: () => messages.end(),
    onFail: (fail) => gone(new SkeinError(fail.code, fail.message)),
    onCancel: (reason) => gone(new SkeinError("CANCELLED", reason)),
    onWritable: () => work.out.resume(),
  };
}

/** Resolves false when the call was called off: nothing more is to be said then. */
async function respond(work: Work, method: GrpcMethod, messages: IncomingMessages): Promise<boolean> {
  const { instance, context, out } = work;
  const request = method.clientStreams ? decoded(method, messages) : await onlyMessage(method, messages);
  const returned = instance.rpc(method.name, request, context);
  if (!method.serverStreams) {
    const value = await returned;
    if (context.cancelled !== undefined) return false;
    if (isIterable(value))
      throw new TypeError(
        `'${method.name}' returned a generator, but the RPC is declared without 'stream' in its answer.`,
      );
    await out.write("bytes", method.encode(value));
    return context.cancelled === undefined;
  }
  // Before awaiting: a Generation is both awaitable and iterable, and here it is iterated.
  const pieces = isIterable(returned) ? returned : await returned;
  if (!isIterable(pieces) && !Array.isArray(pieces))
    throw new TypeError(`'${method.name}' must return an async iterable: the RPC's answer is declared with 'stream'.`);
  return work.produce(iteratorOf(pieces), (element) => out.write("bytes", method.encode(element)));
}

async function onlyMessage(method: GrpcMethod, messages: IncomingMessages): Promise<unknown> {
  const message = await messages.next();
  if (message === undefined)
    throw new SkeinError("INVALID_ARGUMENT", `'${method.name}' takes one message, and none came.`);
  return method.decode(message.bytes);
}

async function* decoded(method: GrpcMethod, messages: IncomingMessages): AsyncGenerator<unknown> {
  for (let message = await messages.next(); message !== undefined; message = await messages.next())
    yield method.decode(message.bytes);
}

function endOf({ code, details, trailing }: GrpcCallState): EndHead {
  return {
    ...(code === null && details === null ? {} : { status: { code: code ?? GRPC_STATUS.OK, message: details ?? "" } }),
    ...(trailing.length === 0 ? {} : { trailers: trailing }),
  };
}

/** What the handler set survives what it throws, as in Ray. */
function failureOf({ code, details, trailing }: GrpcCallState, error: unknown): Pick<EndHead, "status" | "trailers"> {
  const text =
    error instanceof SkeinError || !(error instanceof Error)
      ? SkeinError.from(error).message
      : code !== null
        ? error.message
        : `${error.name}: ${error.message}`;
  const own =
    error instanceof SkeinError && error.code !== "NOT_FOUND" ? OUTSIDE[error.code].grpc : GRPC_STATUS.INTERNAL;
  return {
    status: {
      code: code === null || code === GRPC_STATUS.OK ? own : code,
      message: (details ?? text).slice(0, GRPC_DETAILS_MAX),
    },
    ...(trailing.length === 0 ? {} : { trailers: trailing }),
  };
}
