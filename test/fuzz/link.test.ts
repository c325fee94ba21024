/** Malformed frames against both ends of a link in memory. `npm run fuzz` runs many more, and real processes. */
import { describe, expect, it } from "vitest";
import { seededRandom } from "../support/random.ts";
import { attackLink, attackParsers, goodRequest } from "./in-memory.ts";

const MESSAGES = 20_000;

describe("a link under fire", () => {
  it(`survives ${MESSAGES} malformed messages; a good request in every 1,000 succeeds`, () => {
    const random = seededRandom(20_261_123);
    let sent = 0;
    let closed = 0;
    let attacks = 0;
    let next = 0;
    while (sent < MESSAGES) {
      const result = attackLink(random);
      sent += result.sent;
      closed += result.closed ? 1 : 0;
      attacks++;
      if (sent >= next) {
        next += 1_000;
        expect(goodRequest()).toBe("good.");
      }
    }
    // The generator is worth its name only if most of what it makes is refused, and some of it isn't at once.
    expect(closed / attacks).toBeGreaterThan(0.5);
    expect(sent / attacks).toBeGreaterThan(2);
  });

  it("control messages are read or refused, nothing else", () => {
    const random = seededRandom(7);
    let refused = 0;
    for (let i = 0; i < MESSAGES; i++) refused += attackParsers(random);
    expect(refused).toBeGreaterThan(MESSAGES / 2);
    expect(refused).toBeLessThan(2 * MESSAGES);
  });
});
