/** The engine's bounds, with their units and reasons. */

/** Tokens of a prompt per prefill run: bounds how long a cancellation or a newcomer waits. */
export const PREFILL_CHUNK_TOKENS = 256;

/**
 * Tokens of prompts between two decode steps: bounds how long running streams wait for newcomers. A CPU takes about as long for 32 of them as for
 * two steps of eight rows (SmolLM2-135M, two cores: 43 ms of `native`, 90 of `wasm`), and prompts are read as fast as by more at once.
 */
export const PREFILL_BESIDE_DECODE_TOKENS = { native: 32, wasm: 32, webgpu: 64, reference: 32 } as const;

/** A prefill run costs as much as this many tokens besides its own: the weights are read once in any case (`native`: 15 ms, and 1.2 ms a token). */
export const PREFILL_RUN_COST_TOKENS = 12;

/** Tokens of a prompt per run where the logits after each are wanted: bounds their memory (32 rows of 262,144 take 34 MB). */
export const PREFILL_SCORED_TOKENS = 32;

/** Such a token counts as this many others beside running streams: its logits are computed and looked through (SmolLM2-135M on `native`: 1.6 to 2 times as long). */
export const SCORED_TOKEN_COST_TOKENS = 2;

/** Scores of one prompt, its tokens' and their alternatives': they are kept until the first token of the answer, 150 bytes each. */
export const PROMPT_SCORES_MAX = 32_768;

/** The same of all generations that run or wait: beyond it the engine answers "full" at once. */
export const PROMPT_SCORES_WAITING_MAX = 524_288;

/**
 * Milliseconds that a sequence waits for a slot before one that has run as long gives way: long answers don't shut others out. Not less: a
 * stream that gives way stands still until its turn comes again, and its tokens are computed anew (10 s halved the speed of a crowd).
 */
export const PATIENCE_MS = 60_000;

/** Tokens of a common beginning that are worth copying instead of computing. */
export const PREFIX_TOKENS_MIN = 8;

/** Characters of a caller's name or a cache's salt. */
export const CALLER_CHARACTERS_MAX = 256;

/** Alternatives listed beside a token's logprob, as in OpenAI's API. */
export const TOP_LOGPROBS_MAX = 20;

/** Tokens with a bias of one generation, as in OpenAI's API. */
export const LOGIT_BIAS_TOKENS_MAX = 1_024;

/** Answers to one prompt. */
export const CHOICES_MAX = 128;

/** Sequences that wait for a slot or run: beyond it the engine answers "full" at once. */
export const SEQUENCES_MAX = 256;

/** Tokens sent and not yet taken by the consumer before a sequence pauses. */
export const WINDOW_TOKENS = 64;

/** Stop strings of one generation. */
export const STOP_STRINGS_MAX = 16;

/** Ids of one generation at which its answer ends. */
export const STOP_TOKENS_MAX = 64;

/** Ids of one generation that alone may come. */
export const ALLOWED_TOKENS_MAX = 1_024;

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

/** Texts of one call of an embedder: bounds what waits for one answer. */
export const EMBED_TEXTS_MAX = 2_048;

/**
 * Tokens with padding in one run of an encoder: bounds the memory of attention's scores, which are this times the length of a row, and how
 * long a newcomer waits. Larger runs are no faster on a CPU: a 6-layer model does 3 tokens a millisecond from 128 on.
 */
export const EMBED_RUN_TOKENS = 1_024;

/** A row of an encoder costs as much as one of this many tokens, however few it has: shorter texts are put together. */
export const EMBED_ROW_COST_TOKENS = 16;

/** Texts that wait in an embedder, of all calls together: beyond it the engine answers "full" at once. */
export const EMBED_WAITING_TEXTS_MAX = 8_192;

/** Characters that are tokenised before others get their turn: some milliseconds. */
export const EMBED_STRETCH_CHARACTERS = 32_768;

/** Runs of a graph that wait: beyond it the engine answers "full" at once. */
export const GRAPH_RUNS_MAX = 256;

/** Bounds of what an ONNX file may ask for: it comes from strangers. */
export const ONNX_LIMITS = {
  /** Inputs and outputs of a graph, and sizes of a tensor. */
  values: 4_096,
  dimensions: 64,
  /** Fields that are looked at: nodes and initialisers of a graph, entries of a tensor. */
  fields: 4_194_304,
  /** Graphs within graphs. */
  depth: 32,
  /** Bytes of a name. */
  nameBytes: 4_096,
  /** Bytes of one run's inputs. */
  feedBytes: 268_435_456,
  /** Shapes that are run before a graph serves: each may take seconds. */
  warmUps: 64,
  /** Rows of a matrix of bytes that have a zero point each. */
  zeroPoints: 1_048_576,
  /** Files of tensors beside the graph. */
  externalFiles: 512,
} as const;

/** Characters of a grammar's format as JSON: bounds what is cloned, kept and compiled. */
export const GRAMMAR_CHARACTERS_MAX = 65_536;

/** Milliseconds that a new grammar may take to compile, in a thread of its own; the engine's then stands still for as long, once. */
export const GRAMMAR_COMPILE_MS = 2_000;

/** Milliseconds for that thread to start, and to read the vocabulary: 0.2 s for 49,152 tokens on an idle machine. */
export const GRAMMAR_START_MS = 20_000;

/** Milliseconds after which that thread ends when nothing is asked of it: it holds some 40 MB. */
export const GRAMMAR_CHECK_IDLE_MS = 30_000;

/** Milliseconds that a mask may take, ten times what the slow ones do: it can't be stopped, and keeps the engine's thread from all others. */
export const GRAMMAR_STEP_MS = 200;

/** Milliseconds of all masks of an answer that took longer than that, before it is ended: one, however long, may have been the machine's fault. */
export const GRAMMAR_SLOW_MS_MAX = 500;

/** Grammars that wait to be compiled: they go one by one. */
export const GRAMMARS_STARTING_MAX = 8;

/** Compiled grammars that are kept: most take less than 0.1 MB. */
export const GRAMMARS_MAX = 32;

/** Characters of all formats whose compiled grammars are kept: the worst take 0.2 KB a character. */
export const GRAMMARS_CHARACTERS_MAX = 262_144;

/** Of the memory that weights leave, for keys and values where nobody says how many slots: the rest is for steps, caches and other programs. */
export const KV_MEMORY_SHARE = 0.5;
/** Addresses of a WebAssembly heap, bytes: weights, keys and values share them. */
export const WASM_HEAP_MAX = 4 * 1024 * 1024 * 1024;

/** Milliseconds between two looks at a part of a step that another thread of the `wasm` provider has: parts take less than one. */
export const TEAM_LOOK_MS = 1_000;

/** Looks in a row that may find nothing new before the step is given up: a machine under load can leave a thread without a core for seconds. */
export const TEAM_LOOKS_MAX = 20;

/** Bytes of weights that are copied at a time into WebAssembly's memory: what is on its way is held twice. */
export const WEIGHTS_COPY_BYTES = 256 * 1024;
