/** Comments in streams that have nothing to say: clients ignore them, proxies see that somebody is there. Timers are arguments. */
import type { Answer } from "./answer.ts";
import type { Surroundings } from "./choices.ts";

const COMMENT = ": keep-alive\n\n";

/** The same answer, with a comment for every `everyMs` of silence after its head, where it is a stream. */
export async function* keptAlive(
  answer: Answer,
  everyMs: number,
  { after }: Pick<Surroundings, "after">,
  comment = COMMENT,
): Answer {
  let isStream = false;
  try {
    for (;;) {
      const next = answer.next();
      while (isStream && (await isLate(next, everyMs, after))) yield comment;
      const { done, value } = await next;
      if (done === true) return;
      if (typeof value !== "string") isStream = value.headers["content-type"]?.startsWith("text/event-stream") === true;
      yield value;
    }
  } finally {
    await answer.return();
  }
}

/** Whether `ms` pass before the promise settles, however it does. */
export async function isLate(promise: Promise<unknown>, ms: number, after: Surroundings["after"]): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const stop = after(ms, () => resolve(true));
  const settled = (): void => resolve(false);
  promise.then(settled, settled);
  try {
    return await late;
  } finally {
    stop();
  }
}
