/** The engine's bounds, with their units and reasons. */

/** Tokens of a prompt per prefill step: bounds how long running streams wait for one newcomer. */
export const PREFILL_CHUNK_TOKENS = 256;

/** Sequences that wait for a slot or run: beyond it the engine answers "full" at once. */
export const SEQUENCES_MAX = 256;

/** Tokens sent and not yet taken by the consumer before a sequence pauses. */
export const WINDOW_TOKENS = 64;

/** Stop strings of one generation. */
export const STOP_STRINGS_MAX = 16;

/** Characters of one stop string: bounds the text held back. */
export const STOP_STRING_CHARACTERS_MAX = 256;

/** Characters of all messages or the prompt: bounds what is tokenised on the engine's thread. */
export const PROMPT_CHARACTERS_MAX = 1_000_000;

/** Milliseconds that one model step may be silent before the thread counts as dead: a GPU may compile shaders in its first ones. */
export const STEP_SILENCE_MS = 60_000;

/** Milliseconds that loading may be silent: session creation and the self-test on a slow machine. */
export const LOAD_SILENCE_MS = 180_000;

/** Milliseconds granted after a silence is noticed, for messages already under way (the process may have been stopped). */
export const SILENCE_GRACE_MS = 2_000;

/** Milliseconds for a thread to end by itself before it is terminated. */
export const CLOSE_GRACE_MS = 5_000;
