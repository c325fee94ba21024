/** Runs a method of the ingress itself on a wire: joins messages, keeps order, holds the client back while it doesn't read. */
import { SkeinError } from "../../protocol/errors.ts";
import { GRPC_STATUS, grpcStatusName } from "../../protocol/grpc.ts";
import { OK, type BuiltInContext, type LocalCall, type LocalMethod, type Verdict } from "./built-in.ts";
import type { GrpcContext } from "./context.ts";
import type { CallHead } from "./metadata.ts";
import type { Wire } from "./wire.ts";

/** Requests of these services are a name or two, bytes. */
const REQUEST_MAX = 64 * 1024;
/** Watchers look this often, ms. */
const OFTEN_MS = 250;

export function runLocally(
  context: GrpcContext,
  wire: Wire,
  head: CallHead,
  method: LocalMethod,
  around: BuiltInContext,
): void {
  const startedAt = context.now();
  let pieces: Uint8Array[] = [];
  let size = 0;
  let over = false;
  let watching = false;
  let blocked = false;
  let stop: (() => void) | null = null;
  const told = (code: number): void => {
    if (over) return;
    over = true;
    stop?.();
    context.finished({
      requestId: head.requestId,
      method: head.path,
      route: "",
      app: "",
      deployment: "",
      status: `StatusCode.${grpcStatusName(code)}`,
      ms: context.now() - startedAt,
      log: false,
      isError: code !== GRPC_STATUS.OK,
    });
  };
  const call: LocalCall = {
    app: head.app,
    send: (message) => {
      blocked = !wire.send([message], message.byteLength);
    },
    finish: ({ code, details }: Verdict) => {
      wire.finish(code, details, []);
      told(code);
    },
    often: (callback) => {
      if (watching) return;
      watching = true;
      const again = (): void => {
        stop = context.after(OFTEN_MS, () => {
          if (!blocked) callback();
          if (!over) again();
        });
      };
      again();
    },
  };
  const receive = method(call, around);
  wire.start({
    onPiece: (piece, more) => {
      if (over) return true;
      size += piece.byteLength;
      if (size > REQUEST_MAX) {
        call.finish({
          code: GRPC_STATUS.RESOURCE_EXHAUSTED,
          details: `Requests of this service have at most ${REQUEST_MAX} bytes.`,
        });
        return true;
      }
      pieces.push(piece);
      if (more) return true;
      const whole = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
      pieces = [];
      size = 0;
      try {
        receive(whole);
      } catch (thrown) {
        call.finish({ code: GRPC_STATUS.INVALID_ARGUMENT, details: SkeinError.from(thrown).message });
      }
      return !blocked;
    },
    onClientEnd: () => {
      // Who watches goes on after the request; a unary call has been answered by now.
      if (!watching) call.finish(OK);
    },
    onGone: () => told(GRPC_STATUS.CANCELLED),
    onDrain: () => {
      blocked = false;
      wire.resume();
    },
    onBroken: told,
  });
}
