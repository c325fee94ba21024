/** gRPC calls: message bytes in and out of `instance.method(message, ctx)`. The seam is here; calls are refused until it is filled in. */
import type { OpenGrpc } from "../../protocol/heads.ts";
import type { StreamEvents } from "../../protocol/stream.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { Work } from "./work.ts";

export function serveGrpc(work: Work, head: OpenGrpc, _ended: boolean): StreamEvents {
  work.run(() => {
    throw new SkeinError("UNIMPLEMENTED", `gRPC calls are not served yet (${head.path}).`);
  });
  return { onCancel: (reason) => work.cancel("CANCELLED", reason), onWritable: () => work.out.resume() };
}
