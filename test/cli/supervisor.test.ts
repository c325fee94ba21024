/** A program is kept running, with growing pauses, and ended in order. On a clock of its own. */
import { expect, test } from "vitest";
import { CHILD_SILENT_LOOKS_MAX, CHILD_SILENT_LOOKS_STARTING_MAX } from "../../protocol/limits.ts";
import { HEALTHY_AFTER_MS, RESTARTS_MAX, RESTART_MAX_MS, Supervisor, type Life } from "../../cli/mesh/supervisor.ts";

class FakeLife implements Life<string> {
  readonly pid = 1;
  readonly ready = Promise.resolve("up");
  readonly #ended = Promise.withResolvers<string>();
  readonly ended = this.#ended.promise;
  readonly calls: string[] = [];
  said = 0;
  signs(): number {
    return this.said;
  }
  /** Whether it ends when asked. */
  obeys = true;
  stop(): void {
    this.calls.push("stop");
    if (this.obeys) this.end("exit code 0");
  }
  kill(): void {
    this.calls.push("kill");
    this.end("SIGKILL");
  }
  end(how: string): void {
    this.#ended.resolve(how);
  }
}

function setup() {
  const lives: FakeLife[] = [];
  const again: boolean[] = [];
  const pauses: number[] = [];
  const notes: string[] = [];
  const clock = { now: 0 };
  let looks: (() => void)[] = [];
  /** What happens every half second. */
  const look = (times: number): void => {
    for (let i = 0; i < times; i += 1) for (const callback of looks) callback();
  };
  const io = {
    now: () => clock.now,
    sleep: async (ms: number) => {
      pauses.push(ms);
      clock.now += ms;
      await settled();
    },
    every: (_ms: number, callback: () => void) => {
      looks.push(callback);
      return () => void (looks = looks.filter((other) => other !== callback));
    },
    note: (line: string) => void notes.push(line),
  };
  const supervisor = new Supervisor<string>(
    "The thing",
    (more) => {
      again.push(more);
      lives.push(new FakeLife());
      return lives.at(-1) as FakeLife;
    },
    io,
  );
  return { supervisor, lives, again, pauses, notes, clock, look };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("starts again what ends by itself, and says so", async () => {
  const { supervisor, lives, again, notes } = setup();
  expect(await supervisor.start()).toBe("up");
  lives[0]?.end("SIGKILL");
  await settled();
  await settled();
  expect(again).toEqual([false, true]);
  expect(notes).toEqual(["The thing ended (SIGKILL): it is started again."]);
});

test("the pause doubles up to its maximum, and a long life resets it", async () => {
  const { supervisor, lives, pauses, clock } = setup();
  await supervisor.start();
  for (let i = 0; i < 9; i += 1) {
    lives.at(-1)?.end("exit code 1");
    await settled();
    await settled();
  }
  expect(pauses).toEqual([50, 100, 200, 400, 800, 1600, 3200, RESTART_MAX_MS, RESTART_MAX_MS]);
  clock.now += HEALTHY_AFTER_MS;
  lives.at(-1)?.end("exit code 1");
  await settled();
  expect(pauses.at(-1)).toBe(50);
});

test("gives up what never lives long", async () => {
  const { supervisor, lives } = setup();
  await supervisor.start();
  for (let i = 0; i <= RESTARTS_MAX; i += 1) {
    lives.at(-1)?.end("exit code 1");
    await settled();
    await settled();
  }
  expect(await supervisor.gaveUp).toBe(`The thing ended ${RESTARTS_MAX + 1} times in a row (exit code 1).`);
  expect(lives).toHaveLength(RESTARTS_MAX + 1);
});

test("kills what is silent, once, and starts it again; who speaks now and then lives", async () => {
  const { supervisor, lives, notes, look } = setup();
  await supervisor.start();
  const [first] = lives as [FakeLife];
  look(CHILD_SILENT_LOOKS_STARTING_MAX - 1);
  for (let i = 0; i < 5; i += 1) {
    first.said += 1;
    look(CHILD_SILENT_LOOKS_MAX);
  }
  expect(first.calls).toEqual([]);
  look(CHILD_SILENT_LOOKS_MAX * 3);
  await settled();
  await settled();
  expect(first.calls).toEqual(["kill"]);
  expect(lives).toHaveLength(2);
  expect(notes).toEqual([
    "The thing gave no sign of life for 8 s: killed.",
    "The thing ended (SIGKILL): it is started again.",
  ]);
  expect((lives[1] as FakeLife).calls).toEqual([]);
  look(CHILD_SILENT_LOOKS_STARTING_MAX);
  expect((lives[1] as FakeLife).calls).toEqual(["kill"]);
});

test("what is being stopped may be silent as long as it is given", async () => {
  const { supervisor, lives, look } = setup();
  await supervisor.start();
  const [life] = lives as [FakeLife];
  life.obeys = false;
  life.said += 1;
  const stopped = supervisor.stop(30_000);
  look(CHILD_SILENT_LOOKS_MAX * 2);
  expect(life.calls).toEqual(["stop"]);
  await stopped;
});

test("what was stopped stays ended", async () => {
  const { supervisor, lives, notes } = setup();
  await supervisor.start();
  await supervisor.stop(1_000);
  await settled();
  expect(lives[0]?.calls).toEqual(["stop"]);
  expect({ lives: lives.length, notes }).toEqual({ lives: 1, notes: [] });
});

test("what doesn't stop in time is killed", async () => {
  const { supervisor, lives, notes } = setup();
  await supervisor.start();
  (lives[0] as FakeLife).obeys = false;
  await supervisor.stop(30_000);
  expect(lives[0]?.calls).toEqual(["stop", "kill"]);
  expect(notes).toEqual(["The thing did not stop within 30 s: killed."]);
});

test("a first start that fails is the caller's", async () => {
  const failing = new Supervisor<string>(
    "The thing",
    () => Object.assign(new FakeLife(), { ready: Promise.reject(new Error("port in use")) }),
    { now: () => 0, sleep: () => Promise.resolve(), every: () => () => {}, note: () => {} },
  );
  await expect(failing.start()).rejects.toThrow("port in use");
});
