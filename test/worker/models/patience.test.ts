import { expect, test } from "vitest";
import { ASKED_AGAIN_MAX, PATIENCE_MAX_MS } from "../../../worker/models/limits.ts";
import { asking, PATIENT, QUICK, statusWords } from "../../../worker/models/patience.ts";
import { SkeinError } from "../../../protocol/errors.ts";

/** A server that answers in turn, the last answer for ever; time passes only while somebody pauses. */
function server(...answers: readonly (Response | Error | (() => Response))[]) {
  let clock = 0;
  let asked = 0;
  const pauses: number[] = [];
  return {
    pauses,
    get asked() {
      return asked;
    },
    asker: {
      fetch: (async () => {
        const answer = answers[Math.min(asked++, answers.length - 1)]!;
        if (answer instanceof Error) throw answer;
        return typeof answer === "function" ? answer() : answer;
      }) as typeof fetch,
      now: () => clock,
      pause: async (ms: number) => {
        pauses.push(ms);
        clock += ms;
      },
    },
  };
}
const failing =
  (status: number, headers: Record<string, string> = {}) =>
  (): Response =>
    new Response("no", { status, headers });
const lost = Object.assign(new TypeError("fetch failed"), { code: "ECONNRESET" });

test("what may pass is asked again after growing pauses, and so often", async () => {
  const { asker, pauses } = server(lost, failing(503), failing(500), new Response("yes"));
  expect(await (await asking(PATIENT, asker)("http://x")).text()).toBe("yes");
  expect(pauses).toEqual([1_000, 2_000, 4_000]);
  const dead = server(lost);
  await expect(asking(PATIENT, dead.asker)("http://x")).rejects.toBe(lost);
  expect(dead.asked).toBe(1 + ASKED_AGAIN_MAX);
  const broken = server(failing(502));
  expect((await asking(PATIENT, broken.asker)("http://x")).status).toBe(502);
  expect(broken.asked).toBe(1 + ASKED_AGAIN_MAX);
});

test("a server that says how long is left alone for so long, unless that is too long", async () => {
  const date = "Wed, 01 Jan 2025 00:00:00 GMT";
  const until = failing(503, { date, "retry-after": "Wed, 01 Jan 2025 00:00:30 GMT" });
  const { asker, pauses } = server(failing(429, { "retry-after": "11" }), until, new Response("yes"));
  await asking(PATIENT, asker)("http://x");
  expect(pauses).toEqual([11_000, 30_000]);
  const long = server(failing(429, { "retry-after": String(PATIENCE_MAX_MS / 1000 + 1) }));
  const answer = await asking(PATIENT, long.asker)("http://x");
  expect(long.asked).toBe(1);
  expect(statusWords(answer)).toBe("answered 429 and asks to be left alone for 121 s");
  // Together they don't exceed it either.
  const again = server(failing(429, { "retry-after": String(PATIENCE_MAX_MS / 2000 + 1) }));
  await asking(PATIENT, again.asker)("http://x");
  expect(again.asked).toBe(2);
});

test.each([
  ["a status that is a verdict", failing(404)],
  ["an error of ours", new SkeinError("PERMISSION_DENIED", "not from there")],
])("%s is final", async (_, answer) => {
  const { asker, pauses } = server(answer);
  await asking(PATIENT, asker)("http://x").catch(() => undefined);
  expect(pauses).toEqual([]);
});

test("who isn't patient asks once; who is called off asks no more", async () => {
  const quick = server(failing(503));
  expect((await asking(QUICK, quick.asker)("http://x")).status).toBe(503);
  expect(quick.asked).toBe(1);
  const stop = new AbortController();
  const stopped = server(lost);
  const pause = async (): Promise<void> => stop.abort(new Error("stop"));
  await expect(asking(PATIENT, { ...stopped.asker, pause })("http://x", { signal: stop.signal })).rejects.toBe(lost);
  expect(stopped.asked).toBe(2);
});

test("an answer's head has a limit, its body none", async () => {
  const silent: typeof fetch = (_, init) =>
    new Promise((__, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal!.reason as Error)));
  const ask = asking({ answerMs: 5, again: 0 }, { fetch: silent, now: () => 0 });
  await expect(ask("http://x")).rejects.toThrow("gave no answer within 0.005 s");
});
