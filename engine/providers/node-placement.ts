/** Which nodes ONNX Runtime put where, from its log: nothing else of ONNX Runtime Web 1.30 tells. For Node. */
import fs from "node:fs";

/** Of the lines that are kept, in characters: a line names a node, and a graph has thousands. */
const LOG_CHARACTERS_MAX = 16 * 1024 * 1024;
const MARK = "VerifyEachNodeIsAssignedToAnEp";

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
    if (written.includes(MARK) && text.length < LOG_CHARACTERS_MAX) text += written;
    return written.length;
  };
  fs.writeSync = capture as typeof fs.writeSync;
  try {
    return { result: await work(), text };
  } finally {
    fs.writeSync = original;
  }
}

const LINE = new RegExp(`${MARK}\\]\\s+(.*)$`);

/** The nodes of the CPU in a log at its most talkative, as `operator (name)`. Names that nobody gave are made up by the runtime. */
export function cpuNodesOf(log: string): string[] {
  const nodes: string[] = [];
  let isCpu = false;
  for (const line of log.split("\n")) {
    const said = LINE.exec(line)?.[1];
    if (said === undefined) continue;
    const place = /(All nodes|Node\(s\)) placed on \[(\w+)\]\. Number of nodes: (\d+)/.exec(said);
    if (place !== null) {
      isCpu = place[2] === "CPUExecutionProvider";
      // Then it names none.
      if (isCpu && place[1] === "All nodes") nodes.push(`all ${place[3]} nodes`);
    } else if (isCpu && /^\S+ \(.*\)$/.test(said)) nodes.push(said);
  }
  return nodes;
}

/** The nodes of the CPU in the session that `create` makes at its most talkative. */
export async function cpuNodesIn(create: () => Promise<unknown>): Promise<readonly string[]> {
  return cpuNodesOf((await withPlacementLog(create)).text);
}
