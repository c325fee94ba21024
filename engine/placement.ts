/**
 * Where sequences lie in the KV cache: pure choices of slots. Knows who holds a slot and what ended sequences left behind ("kept"),
 * not the tokens in them.
 */

/** Keys and values that an ended or preempted sequence left in its slot: of use to whoever begins with the same tokens. */
export interface KeptView {
  readonly slot: number;
  /** Positions that are there; less than a slot holds. */
  readonly length: number;
  /** Larger is later; no two are equal. */
  readonly usedAt: number;
}

/** The longest beginning of a sequence that a slot holds. */
export interface Prefix {
  readonly slot: number;
  readonly length: number;
}

/** The first `length` positions come from slot `from`, which is `slot` itself when they are there already. */
export interface Placement {
  readonly slot: number;
  readonly from: number;
  readonly length: number;
  /** What is kept in `slot` goes here first, all of it; nothing is lost but what this slot holds. */
  readonly refuge: number | undefined;
}

/** A copy of KV within the cache. `id` is the sequence that moves; undefined moves what is kept. */
export interface Move {
  readonly kind: "move";
  readonly id: number | undefined;
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/**
 * A slot for a sequence that has none: where its prefix is kept whole, else the lowest that no sequence holds, so that the decode batch
 * stays dense. What was used longest ago is lost when nothing is empty. Undefined when sequences hold all slots.
 * @param held slots that sequences hold
 */
export function placement(
  slots: number,
  held: ReadonlySet<number>,
  kept: readonly KeptView[],
  prefix: Prefix | undefined,
): Placement | undefined {
  const source = prefix && kept.find(({ slot }) => slot === prefix.slot);
  // All of it is used: nothing is lost by taking the slot over.
  if (source !== undefined && prefix!.length >= source.length)
    return { slot: source.slot, from: source.slot, length: prefix!.length, refuge: undefined };
  const free = emptySlot(slots, held, kept) ?? oldest(kept)?.slot;
  if (free === undefined) return undefined;
  const at = (slot: number, refuge?: number): Placement => ({
    slot,
    from: prefix?.slot ?? slot,
    length: prefix?.length ?? 0,
    refuge,
  });
  // Its prefix is in what is about to be lost.
  if (prefix?.slot === free) return at(free);
  const lowest = Math.min(free, ...kept.map(({ slot }) => slot));
  return lowest === free ? at(free) : at(lowest, free);
}

/**
 * The decode batch is slots 0 .. n-1, rows between that don't decode are wasted: moves the highest decoding row into a lower slot that no
 * sequence holds. What is kept there goes to an empty slot first, or to the slot of something older.
 */
export function compaction(
  slots: number,
  held: ReadonlySet<number>,
  kept: readonly KeptView[],
  rows: readonly { readonly id: number; readonly slot: number; readonly cached: number }[],
): Move | undefined {
  const highest = rows.reduce((a, b) => (b.slot > a.slot ? b : a), { id: -1, slot: -1, cached: 0 });
  const holes = Array.from({ length: Math.max(0, highest.slot) }, (_, slot) => slot).filter((slot) => !held.has(slot));
  const hole = holes.find((slot) => kept.every((other) => other.slot !== slot)) ?? holes[0];
  if (hole === undefined) return undefined;
  const inTheWay = kept.find(({ slot }) => slot === hole);
  const refuge = inTheWay && (emptySlot(slots, held, kept) ?? older(kept, inTheWay)?.slot);
  if (inTheWay !== undefined && refuge !== undefined)
    return { kind: "move", id: undefined, from: hole, to: refuge, length: inTheWay.length };
  return { kind: "move", id: highest.id, from: highest.slot, to: hole, length: highest.cached };
}

/** The lowest slot with nothing in it. */
function emptySlot(slots: number, held: ReadonlySet<number>, kept: readonly KeptView[]): number | undefined {
  const used = new Set([...held, ...kept.map(({ slot }) => slot)]);
  for (let slot = 0; slot < slots; slot++) if (!used.has(slot)) return slot;
  return undefined;
}

function oldest(kept: readonly KeptView[]): KeptView | undefined {
  return kept.length === 0 ? undefined : kept.reduce((a, b) => (b.usedAt < a.usedAt ? b : a));
}

/** What was used longest ago, if that is longer ago than `than` was, and lies above it: moving down again would never end. */
function older(kept: readonly KeptView[], than: KeptView): KeptView | undefined {
  return oldest(kept.filter(({ slot, usedAt }) => usedAt < than.usedAt && slot > than.slot));
}
