/** One chunk of a bench's stream: its number and when it was made (monotonic ns, one clock for all processes), of fixed width. */
export const CHUNK_BYTES = 28;
export const chunkText = (n: number): string =>
  `${String(n).padStart(7, "0")} ${String(process.hrtime.bigint()).padStart(19, "0")}\n`;
