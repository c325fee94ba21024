/** Malformed frames against both ends of a link in memory, and control messages against both parsers. No socket, no clock. */
import { parseFromCoordinator, parseToCoordinator } from "../../protocol/control.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import { linkPair } from "../support/link-pair.ts";
import { call } from "../support/link-recorder.ts";
import { below, chance, type Random } from "../support/random.ts";
import { FrameAttacker, hostileControl } from "./hostile.ts";

const head = call({ method: "echo" });

/** Takes every request and answers it with what it got; consumes at once. */
const echo = (stream: Stream): StreamEvents => {
  stream.accept();
  return {
    onChunk: (bytes, type, more, charge) => {
      stream.write(type, bytes.slice(), more);
      stream.consumed(charge);
    },
    onEnd: () => stream.end(),
  };
};

/** One good request over a fresh pair: what came back. "good." when all is well. */
export function goodRequest(): string {
  const pair = linkPair({ onStream: echo }, { onStream: echo });
  let got = "";
  const stream = pair.dialler.open(head, {
    onChunk: (bytes, _type, _more, charge) => {
      got += new TextDecoder().decode(bytes);
      stream.consumed(charge);
    },
    onEnd: () => (got += "."),
  });
  stream.writeText("good");
  stream.end();
  pair.settle();
  return got;
}

/** Attacks one end, chosen by chance, until it closes or the attacker is tired. */
export function attackLink(random: Random): { readonly sent: number; readonly closed: boolean } {
  const pair = linkPair({ onStream: echo }, { onStream: echo });
  const victim = chance(random, 0.5) ? pair.dialler : pair.listener;
  const opened = victim.open(head, {});
  const attacker = new FrameAttacker(random, victim === pair.dialler ? 2 : 1, [opened.id]);
  let sent = 0;
  for (const budget = 1 + below(random, 30); sent < budget && victim.state === "ready"; sent++) {
    victim.receive(attacker.message(), 0);
    if (chance(random, 0.5)) pair.step();
  }
  if (victim.state === "ready" && opened.closed === false) opened.cancel("done");
  return { sent, closed: victim.state !== "ready" };
}

/** One message for each parser; how many were refused. Throws when one fails in any other way than by refusing. */
export function attackParsers(random: Random): number {
  let refused = 0;
  for (const parse of [parseToCoordinator, parseFromCoordinator])
    try {
      parse(hostileControl(random));
    } catch (thrown) {
      if (!(thrown instanceof SkeinError) || thrown.code !== "PROTOCOL") throw thrown;
      refused++;
    }
  return refused;
}
