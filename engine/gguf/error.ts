/** The one error of checkpoint readers. */

/** A checkpoint that can't be read or used: damaged, hostile, or of a kind not supported yet. The message says where and what to do. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
}
