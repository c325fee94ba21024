/**
 * What the model does next: a pure function of the sequences, the budget and the time. Knows nothing of tokens' values or runners.
 *
 * A sequence is `length` known tokens, of which the KV cache of its slot holds the first `cached`. With one token missing it
 * takes part in the decode batch; with more it needs prefill. A sequence that lost its slot waits again, with all its tokens.
 *
 * The decode batch is dense: rows 0 .. n-1 are slots 0 .. n-1. A row whose sequence doesn't decode now (none, paused, in prefill)
 * is filler: the loop has it write where nothing is lost. `move` steps keep fillers few.
 */
import { compaction, type KeptView, type Move } from "./placement.ts";

export interface SequenceView {
  readonly id: number;
  /** Tokens known so far, prompt included. */
  readonly length: number;
  /** Positions of the slot that hold this sequence; 0 without a slot. */
  readonly cached: number;
  readonly slot: number | undefined;
  /** The consumer is slow: nothing is computed for it now. */
  readonly paused: boolean;
  /** Who asked: slots are shared fairly among callers. */
  readonly caller: string;
  /** When it began to wait for a slot: it came, or lost the one it had. In ms. */
  readonly waitingSince: number;
  /** When the slot that it holds brought its first token, in ms; undefined before. */
  readonly runningSince: number | undefined;
  /** Tokens of one prefill run of it at most, where that is fewer than the budget's. */
  readonly runMax?: number | undefined;
  /** What a token of its next run costs, in tokens of the budget; 1 where absent. */
  readonly tokenCost?: number | undefined;
}

export interface SchedulerBudget {
  readonly slots: number;
  /** Tokens of one prefill run at most. */
  readonly prefillChunk: number;
  /** Tokens of prompts between two decode steps: what running streams wait for newcomers. */
  readonly prefillBesideDecode: number;
  /** What a run costs besides its tokens, in tokens. Beside decoding no fewer are run at once, unless no more are missing. */
  readonly prefillRunCost: number;
  /** How long a sequence waits for a slot before one that has run as long gives way, in ms. */
  readonly patienceMs: number;
}

export interface SchedulerClock {
  /** Cost of prefill since the last decode step, in tokens. */
  readonly spent: number;
  /** In ms. */
  readonly now: number;
  /** When callers last got a slot, in ms; absent: not lately. */
  readonly servedAt: ReadonlyMap<string, number>;
}

export type Step =
  /** Tokens `start .. start + count - 1` of the sequence go to its slot. */
  | { readonly kind: "prefill"; readonly id: number; readonly start: number; readonly count: number }
  /** The sequence gets a slot, with what the cache holds of its beginning. There is one that no sequence holds. */
  | { readonly kind: "admit"; readonly id: number }
  /** Row i is slot i; undefined is filler. */
  | { readonly kind: "decode"; readonly rows: readonly (number | undefined)[] }
  | Move
  /** The sequence gives up its slot to one that waits, and waits itself. */
  | { readonly kind: "evict"; readonly id: number }
  | { readonly kind: "idle" };

/**
 * The next step. Fair: who waits longer than the budget's patience comes first, by the time of its waiting; before that, callers with
 * fewer slots do, then those who got one longest ago. Prefill and decode take turns, a decode step serves every row that is ready.
 * @param sequences in order of arrival; slots are distinct
 * @param kept what ended sequences left in slots that nobody holds
 */
export function nextStep(
  sequences: readonly SequenceView[],
  kept: readonly KeptView[],
  budget: SchedulerBudget,
  { spent, now, servedAt }: SchedulerClock,
): Step {
  const held = new Set(sequences.flatMap(({ slot }) => (slot === undefined ? [] : [slot])));
  const ready = sequences.filter(isReadyToDecode);
  const waiting = sequences.filter(({ slot, paused }) => slot === undefined && !paused);

  // Where someone waits, a hole is filled by admitting, not by moving.
  const move = waiting.length > 0 ? undefined : compaction(budget.slots, held, kept, ready);
  if (move !== undefined) return move;

  const allowance = ready.length === 0 ? budget.prefillChunk : budget.prefillBesideDecode - spent;
  const begun = sequences.find((sequence) => sequence.slot !== undefined && !sequence.paused && missing(sequence) > 1);
  const next = begun ?? firstOf(waiting, sequences, budget, { now, servedAt });
  if (next !== undefined && (ready.length === 0 || allowance >= Math.min(budget.prefillRunCost, missing(next)))) {
    if (begun !== undefined) {
      const { runMax = Infinity, tokenCost = 1 } = begun;
      const affordable = Math.max(1, Math.floor(allowance / tokenCost));
      const count = Math.min(budget.prefillChunk, runMax, affordable, missing(begun));
      return { kind: "prefill", id: begun.id, start: begun.cached, count };
    }
    if (held.size < budget.slots) return { kind: "admit", id: next.id };
  }
  if (waiting.length > 0 && held.size >= budget.slots) {
    const victim = sequences.findLast(({ slot, paused }) => slot !== undefined && paused) ?? overstayed();
    if (victim !== undefined) return { kind: "evict", id: victim.id };
  }
  if (ready.length === 0) return { kind: "idle" };
  return decode(ready);

  /** Whose slot a sequence gets that waits too long: of the caller with most slots, the one that has run longest. */
  function overstayed(): SequenceView | undefined {
    const isLate = (since: number | undefined): boolean => since !== undefined && now - since >= budget.patienceMs;
    if (!waiting.some(({ waitingSince }) => isLate(waitingSince))) return undefined;
    const slotsOf = slotsByCaller(sequences);
    return ready
      .filter(({ runningSince }) => isLate(runningSince))
      .toSorted((a, b) => slotsOf(b.caller) - slotsOf(a.caller) || a.runningSince! - b.runningSince!)[0];
  }
}

/** What a prefill run of `count` tokens takes from the budget beside decoding: between two decode steps all together cost no more than one run of the budget's tokens. */
export function prefillCost(count: number, { prefillRunCost }: SchedulerBudget, tokenCost = 1): number {
  return count * tokenCost + prefillRunCost;
}

const missing = ({ length, cached }: SequenceView): number => length - cached;

function isReadyToDecode(sequence: SequenceView): sequence is SequenceView & { readonly slot: number } {
  return sequence.slot !== undefined && !sequence.paused && missing(sequence) === 1;
}

/** Who of those that wait is admitted next. */
function firstOf(
  waiting: readonly SequenceView[],
  sequences: readonly SequenceView[],
  { patienceMs }: SchedulerBudget,
  { now, servedAt }: Pick<SchedulerClock, "now" | "servedAt">,
): SequenceView | undefined {
  const byTime = waiting.toSorted((a, b) => a.waitingSince - b.waitingSince);
  const [first] = byTime;
  if (first === undefined || now - first.waitingSince >= patienceMs) return first;
  const slotsOf = slotsByCaller(sequences);
  const lastServed = ({ caller }: SequenceView): number => servedAt.get(caller) ?? -Infinity;
  return byTime.reduce((a, b) => {
    const more = slotsOf(b.caller) - slotsOf(a.caller);
    return more < 0 || (more === 0 && lastServed(b) < lastServed(a)) ? b : a;
  });
}

function slotsByCaller(sequences: readonly SequenceView[]): (caller: string) => number {
  const counts = new Map<string, number>();
  for (const { caller, slot } of sequences) if (slot !== undefined) counts.set(caller, (counts.get(caller) ?? 0) + 1);
  return (caller) => counts.get(caller) ?? 0;
}

function decode(ready: readonly (SequenceView & { readonly slot: number })[]): Step {
  const rows: (number | undefined)[] = new Array<undefined>(Math.max(...ready.map(({ slot }) => slot)) + 1).fill(
    undefined,
  );
  for (const { slot, id } of ready) rows[slot] = id;
  return { kind: "decode", rows };
}
