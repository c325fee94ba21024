/** Areas cancel, overload, timeout: requests side by side, clients that leave, logs of what a handler saw. */
import { eventually } from "../../system/mesh.ts";
import { RawConnection } from "../raw.ts";
import type { HttpObserved, HttpRequest } from "../recording.ts";
import { bytesOf, replayRequest, type Replay } from "../replay.ts";

interface Logs {
  readonly parent: readonly string[];
  readonly child: readonly string[];
}
interface ObservedLogs {
  readonly parent_log?: readonly string[];
  readonly child_log?: readonly string[];
}

const LOG = "/slow?m=log";
const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Without times: they are start-up costs and load. */
const untimed = (log: readonly string[]): string[] => log.map((line) => line.replace(/\d+\.\d+s/, "some time"));

/** Runs `act` and compares what the handler logged meanwhile, when as much is there as was observed. */
async function logged(replay: Replay, step: number, observed: ObservedLogs, act: () => Promise<void>): Promise<void> {
  const before = (await replay.json200(LOG)) as Logs;
  await act();
  const parent = observed.parent_log ?? [];
  const child = observed.child_log ?? [];
  let now = before;
  await eventually(async () => {
    now = (await replay.json200(LOG)) as Logs;
    return (
      now.parent.length - before.parent.length >= parent.length &&
      now.child.length - before.child.length >= child.length
    );
  }, "the handler has logged").catch(() => {});
  replay.json(step, "parent_log", untimed(parent), untimed(now.parent.slice(before.parent.length)));
  replay.json(step, "child_log", untimed(child), untimed(now.child.slice(before.child.length)));
}

/** Area cancel: `client does "<what>" <n> s after sending`. */
export async function leaving(replay: Replay): Promise<void> {
  for (const [step, { request }] of replay.recording.steps.entries()) {
    const asked = request as HttpRequest;
    const [, how, after] = /^client does "(\w+)" ([\d.]+) s/.exec(asked.note ?? "") ?? [];
    const observed = replay.observed<ObservedLogs & { client_got?: HttpObserved }>(step);
    await logged(replay, step, observed, async () => {
      const connection = await RawConnection.open(replay.port);
      connection.send(bytesOf(asked));
      await pause(Number(after));
      if (how === "half") connection.socket.end();
      else if (how === "rst") connection.socket.resetAndDestroy();
      else connection.close();
      if (observed.client_got !== undefined)
        replay.http(step, await connection.answer(asked.method), observed.client_got);
      connection.close();
      // What is blocking goes on to its end.
      if (asked.path.includes("m=block")) await pause(1.5);
    });
  }
}

/** C029-b: one request a step, with the logs of handler and child. */
export async function timeouts(replay: Replay): Promise<void> {
  for (const [step, { request }] of replay.recording.steps.entries())
    await logged(replay, step, replay.observed<ObservedLogs>(step), async () =>
      replay.http(step, await replay.send(request as HttpRequest)),
    );
}

/** C022: the last step is the log of all before; only what these requests leave in it is compared. */
export async function globalTimeout(replay: Replay): Promise<void> {
  const last = replay.recording.steps.length - 1;
  for (let step = 0; step < last; step += 1)
    await replayRequest(replay, step, replay.step(step).request, replay.observed(step));
  // The recording's log begins with requests of other recordings: the last eight lines are of this one.
  const { body = "" } = replay.observed(last);
  const { parent, child } = JSON.parse(body) as Logs;
  const own = untimed(parent.slice(parent.indexOf("sleep CancelledError after 1.0s")));
  let got = (await replay.json200(LOG)) as Logs;
  await eventually(
    async () => (got = (await replay.json200(LOG)) as Logs).parent.length >= own.length,
    "the handler has logged",
  ).catch(() => {});
  replay.json(last, "parent_log", own, untimed(got.parent));
  replay.json(last, "child_log", untimed(child), untimed(got.child));
}

/** C037: twelve at once, five of them in the handler. */
export async function twelveAtOnce(replay: Replay): Promise<void> {
  const answers = await Promise.all(Array.from({ length: 12 }, () => replay.get("/conc")));
  const observed = replay.observed<Record<string, unknown>>(0);
  replay.json(
    0,
    "statuses",
    observed["statuses"],
    answers.map((answer) => (answer === "closed" ? 0 : answer.status)),
  );
  const peak = await replay.get("/conc?peak=1");
  replay.json(
    0,
    "peak",
    observed["peak concurrency seen inside the handler"],
    peak === "closed" ? 0 : Number(peak.body.toString()),
  );
}

/** X-OVER-01: four requests, each sent a moment after the one before. */
export async function backpressure(replay: Replay): Promise<void> {
  const answers = await Promise.all(
    replay.recording.steps.map(async ({ request }, step) => {
      await pause(step * 0.15);
      return replay.get(String(request).slice("GET ".length));
    }),
  );
  for (const [step, answer] of answers.entries()) replay.http(step, answer);
}

/** C006-c: the route table had the applications of other recordings too. */
export async function prefixWithSpace(replay: Replay): Promise<void> {
  for (const step of [0, 1]) await replayRequest(replay, step, replay.step(step).request, replay.observed(step));
  const routes = JSON.parse(replay.observed(2).body ?? "{}") as Record<string, string>;
  const got = (await replay.json200("/-/routes")) as Record<string, string>;
  replay.json(2, "route", routes["/a b"], got["/a b"]);
}

/** C005: the steps of one phase, then of the other, which has an application on `/` as well. */
export const phase =
  (first: boolean) =>
  async (replay: Replay): Promise<void> => {
    for (const [step, { phase: name, results, request, observed }] of replay.recording.steps.entries()) {
      if ((name?.startsWith("plus") === true || request !== undefined) === first) continue;
      if (results === undefined) await replayRequest(replay, step, request, observed);
      else for (const result of results) await replayRequest(replay, step, result.request, result.observed);
    }
  };
