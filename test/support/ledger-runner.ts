/**
 * A runner whose "keys and values" are the tokens themselves, and whose logits depend on every one of them: a wrong copy, a slot shared
 * or overwritten, or a position too far changes what comes next. Thousands of times faster than a model.
 */
import { prf } from "../../engine/prf.ts";
import type { ModelConfig, Runner } from "../../engine/types.ts";

/** The logits after a position of these tokens, drawn from all of them up to it. */
export function ledgerLogits(tokens: ArrayLike<number>, position: number, out: Float32Array): void {
  let seed = 17;
  for (let i = 0; i <= position; i++) seed = (Math.imul(seed, 31) + tokens[i]! + 7) >>> 0;
  for (let id = 0; id < out.length; id++) out[id] = 8 * prf(seed, id);
}

/** Logits are drawn from the whole content of the slot up to the position. */
export function createLedgerRunner(
  config: ModelConfig,
  { slots, slotLength }: { slots: number; slotLength: number },
): Runner & { prefilled: number; copied: number } {
  const ledger = Array.from({ length: slots }, () => new Int32Array(slotLength).fill(-1));
  const { vocabulary } = config;

  function write(slot: number, position: number, token: number): void {
    if (!(position >= 0 && position < slotLength && slot >= 0 && slot < slots))
      throw new RangeError(`position ${position} of slot ${slot} does not exist`);
    ledger[slot]![position] = token;
  }
  function logitsAt(slot: number, position: number, out: Float32Array): void {
    const empty = ledger[slot]!.subarray(0, position + 1).indexOf(-1);
    if (empty >= 0) throw new Error(`slot ${slot} has nothing at ${empty}, before ${position}`);
    ledgerLogits(ledger[slot]!, position, out);
  }

  return {
    provider: "reference",
    config,
    slots,
    slotLength,
    prefilled: 0,
    copied: 0,
    async prefill(slot, tokens, start, wantLogits) {
      tokens.forEach((token, i) => write(slot, start + i, token));
      this.prefilled += tokens.length;
      if (!wantLogits) return undefined;
      const logits = new Float32Array(vocabulary);
      logitsAt(slot, start + tokens.length - 1, logits);
      return logits;
    },
    async prefillScored(slot, tokens, start) {
      tokens.forEach((token, i) => write(slot, start + i, token));
      this.prefilled += tokens.length;
      const logits = new Float32Array(tokens.length * vocabulary);
      tokens.forEach((_, i) => logitsAt(slot, start + i, logits.subarray(i * vocabulary, (i + 1) * vocabulary)));
      return logits;
    },
    async decode(tokens, positions) {
      const logits = new Float32Array(tokens.length * vocabulary);
      tokens.forEach((token, row) => write(row, positions[row]!, token));
      tokens.forEach((_, row) => {
        // A filler row may stand on nothing.
        if (ledger[row]!.subarray(0, positions[row]!).includes(-1)) return;
        logitsAt(row, positions[row]!, logits.subarray(row * vocabulary, (row + 1) * vocabulary));
      });
      return logits;
    },
    async copySlot(from, to, length) {
      if (length > slotLength) throw new RangeError(`length is ${length}`);
      // What was there is gone: nobody may count on it.
      ledger[to]!.fill(-1);
      ledger[to]!.set(ledger[from]!.subarray(0, length));
      this.copied += length;
    },
    release: async () => {},
  };
}
