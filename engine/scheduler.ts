/**
 * What the model does next: a pure function of the sequences and the budget. Knows nothing of tokens' values, time or runners.
 *
 * A sequence is `length` known tokens, of which the KV cache of its slot holds the first `cached`. With one token missing it
 * takes part in the decode batch; with more it needs prefill. A sequence that lost its slot starts again at `cached` 0.
 *
 * The decode batch is dense: rows 0 .. n-1 are slots 0 .. n-1. A row whose sequence doesn't decode now (none, paused, in prefill)
 * is filler: the loop has it write where nothing is lost. `move` steps keep fillers few.
 */

export interface SequenceView {
  readonly id: number;
  /** Tokens known so far, prompt included. */
  readonly length: number;
  /** Positions of the slot that hold this sequence; 0 without a slot. */
  readonly cached: number;
  readonly slot: number | undefined;
  /** The consumer is slow: nothing is computed for it now. */
  readonly paused: boolean;
}

export interface SchedulerBudget {
  readonly slots: number;
  readonly prefillChunk: number;
}

export type Step =
  /** Tokens `start .. start + count - 1` of the sequence go to `slot`, which was free or its own. */
  | {
      readonly kind: "prefill";
      readonly id: number;
      readonly slot: number;
      readonly start: number;
      readonly count: number;
    }
  /** Row i is slot i; undefined is filler. */
  | { readonly kind: "decode"; readonly rows: readonly (number | undefined)[] }
  /** The sequence's KV is copied to a free slot, which becomes its own. */
  | { readonly kind: "move"; readonly id: number; readonly from: number; readonly to: number; readonly length: number }
  /** The paused sequence gives up its slot to one that waits. */
  | { readonly kind: "evict"; readonly id: number }
  | { readonly kind: "idle" };

/**
 * The next step. Fair: sequences are admitted in the order given (by arrival), prefill and decode take turns, a decode step serves
 * every row that is ready.
 * @param sequences in order of arrival, where an eviction counts as a new arrival; slots are distinct
 * @param previous kind of the last step that ran the model
 */
export function nextStep(
  sequences: readonly SequenceView[],
  budget: SchedulerBudget,
  previous: "prefill" | "decode",
): Step {
  const holders: (SequenceView | undefined)[] = new Array<undefined>(budget.slots).fill(undefined);
  for (const sequence of sequences) if (sequence.slot !== undefined) holders[sequence.slot] = sequence;
  const ready = sequences.filter(isReadyToDecode);
  const freeSlot = holders.indexOf(undefined);
  const isSlotWanted = sequences.some((sequence) => sequence.slot === undefined && !sequence.paused);

  // Where someone waits, a hole is filled by admitting, not by moving.
  const move = isSlotWanted ? undefined : compaction(holders, freeSlot);
  if (move !== undefined) return move;

  const waiting = sequences.find(
    (sequence) => !sequence.paused && !isReadyToDecode(sequence) && hasOrCanGetSlot(sequence, freeSlot),
  );
  if (waiting !== undefined && (ready.length === 0 || previous === "decode")) {
    const start = waiting.cached;
    const count = Math.min(budget.prefillChunk, waiting.length - start);
    return { kind: "prefill", id: waiting.id, slot: waiting.slot ?? freeSlot, start, count };
  }
  if (waiting === undefined && isSlotWanted) {
    const victim = sequences.findLast((sequence) => sequence.slot !== undefined && sequence.paused);
    if (victim !== undefined) return { kind: "evict", id: victim.id };
  }
  if (ready.length === 0) return { kind: "idle" };
  const rows = Math.max(...ready.map((sequence) => sequence.slot!)) + 1;
  const readyIds = new Set(ready.map((sequence) => sequence.id));
  return {
    kind: "decode",
    rows: holders
      .slice(0, rows)
      .map((holder) => (holder !== undefined && readyIds.has(holder.id) ? holder.id : undefined)),
  };
}

function isReadyToDecode(sequence: SequenceView): boolean {
  return sequence.slot !== undefined && !sequence.paused && sequence.length - sequence.cached === 1;
}

function hasOrCanGetSlot(sequence: SequenceView, freeSlot: number): boolean {
  return sequence.slot !== undefined || freeSlot >= 0;
}

/** Moves the highest decoding row down into the lowest free slot, if that makes the batch shorter. */
function compaction(holders: readonly (SequenceView | undefined)[], freeSlot: number): Step | undefined {
  const highest = holders.findLast((holder) => holder !== undefined && isReadyToDecode(holder));
  if (highest?.slot === undefined || freeSlot < 0 || freeSlot > highest.slot) return undefined;
  return { kind: "move", id: highest.id, from: highest.slot, to: freeSlot, length: highest.cached };
}
