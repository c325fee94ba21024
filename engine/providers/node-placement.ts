/** ONNX Runtime's log of placements, in Node. */
import fs from "node:fs";
import { MARK, PLACEMENT_CHARACTERS_MAX } from "./placement-log.ts";

/**
 * What the runtime writes of placements while `work` is under way, instead of its going to the process's output: the WASM module in Node writes by
 * `fs.writeSync`, and takes no other place. Nothing else of an engine's thread writes meanwhile.
 */
export async function withPlacementLog<T>(
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly text: string }> {
  const original = fs.writeSync;
  let text = "";
  const capture = (descriptor: number, written: unknown, ...rest: unknown[]): number => {
    if ((descriptor !== 1 && descriptor !== 2) || typeof written !== "string")
      return (original as (...args: unknown[]) => number)(descriptor, written, ...rest);
    if (written.includes(MARK) && text.length < PLACEMENT_CHARACTERS_MAX) text += written;
    return written.length;
  };
  fs.writeSync = capture as typeof fs.writeSync;
  try {
    return { result: await work(), text };
  } finally {
    fs.writeSync = original;
  }
}
