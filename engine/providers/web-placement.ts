/** ONNX Runtime's log of placements, in a tab: its module writes whole lines to the console. */
import { MARK, PLACEMENT_CHARACTERS_MAX, type WithPlacementLog } from "./placement-log.ts";

type Lines = Pick<Console, "log" | "error">;

/**
 * What the runtime writes of placements while `work` is under way, instead of its going to the console. The module keeps the console's
 * functions when it is loaded: call this before. Nothing else of an engine's thread writes meanwhile.
 */
export function capturePlacements(console: Lines): WithPlacementLog {
  let text: string | undefined;
  for (const name of ["log", "error"] as const) {
    const original = console[name].bind(console);
    console[name] = (...values: unknown[]) => {
      if (text === undefined) return original(...values);
      const line = values.join(" ");
      if (line.includes(MARK) && text.length < PLACEMENT_CHARACTERS_MAX) text += `${line}\n`;
    };
  }
  return async (work) => {
    text = "";
    try {
      const result = await work();
      return { result, text };
    } finally {
      text = undefined;
    }
  };
}
