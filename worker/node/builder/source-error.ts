/** Errors in user code as a person wants them: file, line and column, the line itself with a caret, and what to do. */
import { SkeinError } from "../../../protocol/errors.ts";

export interface Place {
  /** Relative to the application's folder. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  readonly text: string;
  /** Characters that the caret underlines. */
  readonly length: number;
}

/** `llm.ts:3:10: message`, the line, a caret, then the advice. */
export function sourceError(message: string, place: Place | undefined, advice?: string): SkeinError {
  const lines = [place === undefined ? message : `${place.file}:${place.line}:${place.column}: ${message}`];
  if (place !== undefined && place.text.trim() !== "") {
    const number = String(place.line);
    // Tabs stay tabs, so that the caret stands under its character.
    const indent = place.text.slice(0, place.column - 1).replace(/[^\t]/g, " ");
    lines.push(
      `  ${number} | ${place.text}`,
      `  ${" ".repeat(number.length)} | ${indent}${"^".repeat(Math.max(1, Math.min(place.length, place.text.length - place.column + 1)))}`,
    );
  }
  if (advice !== undefined) lines.push(advice);
  return new SkeinError("INVALID_ARGUMENT", lines.join("\n"));
}
