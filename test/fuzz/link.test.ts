/** Malformed frames against both ends of a link in memory. `npm run fuzz` runs many more, and real processes. */
import { describe, expect, it } from "vitest";
import type { OpenHead } from "../../protocol/heads.ts";
import { parseFromCoordinator, parseToCoordinator } from "../../protocol/control.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import { linkPair } from "../support/link-pair.ts";
import { below, chance, seededRandom, type Random } from "../support/random.ts";
import { FrameAttacker, hostileControl } from "./hostile.ts";

const MESSAGES = Number(process.env.SKEIN_FUZZ_MESSAGES ?? 20_000);

const head: OpenHead = { kind: "call", app: "a", deployment: "D", method: "echo", stream: false, requestId: "r", deadlineMs: null, epoch: 0, hops: 0, model: "" };

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

/** One good request over a fresh pair; the bytes that came back. */
function goodRequest(pair: ReturnType<typeof linkPair>): string {
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

function attackOnce(random: Random): { sent: number; closed: boolean } {
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

describe("a link under fire", () => {
  it(`survives ${MESSAGES} malformed messages; a good request in every 1,000 succeeds`, () => {
    const random = seededRandom(20_261_123);
    let sent = 0;
    let closed = 0;
    let attacks = 0;
    let next = 0;
    while (sent < MESSAGES) {
      const result = attackOnce(random);
      sent += result.sent;
      closed += result.closed ? 1 : 0;
      attacks++;
      if (sent >= next) {
        next += 1_000;
        expect(goodRequest(linkPair({ onStream: echo }, { onStream: echo }))).toBe("good.");
      }
    }
    // The generator is worth its name only if most of what it makes is refused, and some of it isn't at once.
    expect(closed / attacks).toBeGreaterThan(0.5);
    expect(sent / attacks).toBeGreaterThan(2);
  });

  it("control messages are read or refused, nothing else", () => {
    const random = seededRandom(7);
    let refused = 0;
    for (let i = 0; i < MESSAGES; i++)
      for (const parse of [parseToCoordinator, parseFromCoordinator])
        try {
          parse(hostileControl(random));
        } catch (thrown) {
          refused++;
          expect(thrown).toMatchObject({ code: "PROTOCOL" });
        }
    expect(refused).toBeGreaterThan(MESSAGES / 2);
    expect(refused).toBeLessThan(2 * MESSAGES);
  });
});
