/**
 * One generation on the consumer's side: pieces wait here until they are taken; what is taken is acknowledged, which is what keeps
 * the engine from running ahead. Bounded: the engine pauses the sequence at a window of tokens not acknowledged.
 */
import type { Usage } from "./sequence.ts";
import type { ChosenScore, OutputItem, PromptScore } from "./thread-messages.ts";
import type { FinishReason } from "./types.ts";

export interface GenerationPiece {
  /** May be "" while a character is unfinished or a stop string may be under way. */
  readonly text: string;
  readonly tokens: readonly number[];
  /** One for each token, where asked for. */
  readonly logprobs?: readonly ChosenScore[];
  /** With the first piece, where asked for: of the prompt's tokens but the first. */
  readonly promptLogprobs?: readonly PromptScore[];
}

export interface GenerationEnd extends Usage {
  readonly finishReason: FinishReason;
  /** Which of the request's `stop` and `stopTokens` ended it. */
  readonly stoppedBy?: string | number;
}

/** What a generation needs of its client. */
export interface GenerationPort {
  acknowledge(tokens: number): void;
  cancel(): void;
}

/**
 * Iterate it (once) to make it go on. Leaving the loop early cancels. An aborted signal ends the loop quietly, with `end` saying
 * "cancelled"; a failure of the engine throws.
 */
export class EngineGeneration implements AsyncIterable<GenerationPiece> {
  /** The prompt's ids, once the engine has taken the request in. Rejects where it refused. */
  readonly promptTokens: Promise<readonly number[]>;
  /** Resolves with the last piece, whether or not the pieces were taken; rejects where the engine refused or died. */
  readonly end: Promise<GenerationEnd>;
  readonly #port: GenerationPort;
  readonly #windowTokens: number;
  #pieces: GenerationPiece[] = [];
  #unacknowledged = 0;
  #taken = 0;
  #generated = 0;
  #promptLength = 0;
  #outcome: "running" | "done" | Error = "running";
  #wake: (() => void) | undefined;
  readonly #prompt = Promise.withResolvers<readonly number[]>();
  readonly #end = Promise.withResolvers<GenerationEnd>();

  constructor(port: GenerationPort, windowTokens: number) {
    this.#port = port;
    this.#windowTokens = windowTokens;
    this.promptTokens = this.#prompt.promise;
    this.end = this.#end.promise;
    // Whoever only iterates must not be punished for not looking at these.
    this.promptTokens.catch(() => undefined);
    this.end.catch(() => undefined);
  }

  /** Whether the engine has something to do for it. */
  get isActive(): boolean {
    return this.#outcome === "running" && this.#unacknowledged < this.#windowTokens;
  }

  /** The engine took the request in. */
  started(promptTokens: readonly number[]): void {
    this.#promptLength = promptTokens.length;
    this.#prompt.resolve(promptTokens);
  }

  /** The engine produced something. */
  received({ text, tokens, logprobs, promptLogprobs, end }: OutputItem): void {
    if (this.#outcome !== "running") return;
    this.#pieces.push({ text, tokens, ...(logprobs && { logprobs }), ...(promptLogprobs && { promptLogprobs }) });
    this.#unacknowledged += tokens.length;
    this.#generated += tokens.length;
    if (end) this.#finish("done", end);
    this.#wake?.();
  }

  failed(error: Error): void {
    if (this.#outcome !== "running") return;
    this.#outcome = error;
    this.#prompt.reject(error);
    this.#end.reject(error);
    this.#wake?.();
  }

  /** Ends it at once; pieces not yet taken are dropped. */
  cancel(): void {
    if (this.#outcome !== "running") return;
    this.#pieces = [];
    this.#port.cancel();
    this.#prompt.resolve([]);
    this.#finish("done", {
      promptTokens: this.#promptLength,
      cachedTokens: 0,
      completionTokens: this.#generated,
      finishReason: "cancelled",
    });
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerationPiece, void, undefined> {
    try {
      for (;;) {
        const piece = this.#pieces.shift();
        if (piece !== undefined) {
          this.#take(piece.tokens.length);
          yield piece;
        } else if (this.#outcome instanceof Error) {
          throw this.#outcome;
        } else if (this.#outcome === "done") {
          return;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.cancel();
    }
  }

  /** Acknowledges in quarters of the window: a message per token would cost more than it is worth. */
  #take(tokens: number): void {
    this.#taken += tokens;
    if (this.#taken < this.#windowTokens / 4 || this.#outcome !== "running") return;
    this.#unacknowledged -= this.#taken;
    this.#port.acknowledge(this.#taken);
    this.#taken = 0;
  }

  #finish(outcome: "done", end: GenerationEnd): void {
    this.#outcome = outcome;
    this.#end.resolve(end);
  }
}
