/** Which nodes ONNX Runtime put where, as its log says: nothing else of ONNX Runtime Web 1.30 tells. Pure. */

/** Of the lines that are kept, in characters: a line names a node, and a graph has thousands. */
export const PLACEMENT_CHARACTERS_MAX = 16 * 1024 * 1024;
/** In every line of it. */
export const MARK = "VerifyEachNodeIsAssignedToAnEp";

/** What the runtime writes of placements while `work` is under way, kept from wherever it would go. */
export type WithPlacementLog = <T>(work: () => Promise<T>) => Promise<{ readonly result: T; readonly text: string }>;

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
