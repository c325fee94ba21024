/**
 * Calls that this replica makes: a stream on one of its links, to the ingress, which switches it to a replica of the callee.
 * The ingress on the own host is preferred; the ticket says whom may be called, and the ingress checks it.
 */
import { SkeinError } from "../../protocol/errors.ts";
import { pack, unpack, type FailHead, type OpenCall } from "../../protocol/heads.ts";
import type { Link } from "../../protocol/link.ts";
import type { Loss, Stream } from "../../protocol/stream.ts";
import type { Call, Caller } from "../../serve/handle.ts";
import { IncomingMessages } from "./incoming.ts";

/** How long a call waits for any link to an ingress when there is none, ms: the links are being dialled, or an ingress is started again. */
const LINK_WAIT_MS = 5_000;

export interface Links {
  /** The link that a new call should take. */
  pick(): Link | undefined;
  /** Resolves when there may be one, at the latest after `ms`. */
  changed(ms: number): Promise<void>;
  now(): number;
  /** Ids of requests that begin here. */
  requestId(): string;
}

export class LinkCaller implements Caller {
  readonly #links: Links;
  constructor(links: Links) {
    this.#links = links;
  }

  async unary(call: Call): Promise<unknown> {
    const opened = await this.#open(call, false);
    try {
      const message = await opened.messages.next();
      if (message === undefined)
        throw new SkeinError("INTERNAL", `The call of '${call.method}' ended without a value.`);
      return unpack(message.bytes);
    } finally {
      opened.leave();
    }
  }

  async *stream(call: Call): AsyncGenerator<unknown> {
    const opened = await this.#open(call, true);
    try {
      for (let message = await opened.messages.next(); message !== undefined; message = await opened.messages.next())
        yield unpack(message.bytes);
    } finally {
      opened.leave();
    }
  }

  async #open(call: Call, stream: boolean): Promise<{ messages: IncomingMessages; leave: () => void }> {
    const args = pack(call.args);
    const link = await this.#link(call);
    const { origin, signal, target } = call;
    if (signal?.aborted === true) throw SkeinError.from(signal.reason, "CANCELLED");
    const head: OpenCall = {
      kind: "call",
      app: target.app,
      deployment: target.deployment,
      requestId: origin?.requestId ?? this.#links.requestId(),
      deadlineMs: origin?.deadline == null ? null : Math.max(0, origin.deadline - this.#links.now()),
      epoch: 0,
      hops: origin?.hops ?? 0,
      model: call.model,
      method: call.method,
      stream,
    };
    let messages: IncomingMessages | undefined;
    const failed = (error: SkeinError): void => messages?.fail(error);
    const opened: Stream = link.open(head, {
      onBusy: () => failed(new SkeinError("BACKPRESSURE", `No replica of '${target.deployment}' took the call.`)),
      onChunk: (payload, type, more, charge) => messages?.onChunk(payload, type, more, charge),
      onEnd: () => messages?.end(),
      // What a generator yielded before it failed is still read.
      onFail: (fail, lost) => messages?.end(errorOf(fail, lost, call)),
      onCancel: (reason) => failed(new SkeinError("CANCELLED", reason)),
    });
    messages = new IncomingMessages(opened, false);
    opened.write("value", args);
    opened.end();
    const cancel = (reason: unknown): void => {
      const error = SkeinError.from(reason, "CANCELLED");
      opened.cancel(error.message);
      failed(error);
    };
    const onAbort = (): void => cancel(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const stop = origin?.onCancel(cancel);
    return {
      messages,
      leave: () => {
        stop?.();
        signal?.removeEventListener("abort", onAbort);
        // Left before its end: the callee need not go on.
        opened.cancel("The caller left.");
      },
    };
  }

  async #link(call: Call): Promise<Link> {
    const until = Math.min(this.#links.now() + LINK_WAIT_MS, call.origin?.deadline ?? Infinity);
    for (;;) {
      const link = this.#links.pick();
      if (link !== undefined) return link;
      const left = until - this.#links.now();
      if (left <= 0)
        throw new SkeinError(
          "UNAVAILABLE",
          `'${call.target.deployment}' can't be called: there is no link to an ingress.`,
        );
      await this.#links.changed(left);
    }
  }
}

function errorOf(fail: FailHead, lost: Loss | null, call: Call): SkeinError {
  return lost
    ? new SkeinError("REPLICA_DIED", `The link broke while '${call.target.deployment}.${call.method}' was running.`)
    : new SkeinError(fail.code, fail.message);
}
