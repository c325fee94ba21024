/** A loop on a ledger, for tests of what happens to sequences: fast, and every mistake in a slot changes what is said. */
import { EngineLoop, type EngineLoopOptions } from "../../engine/loop.ts";
import { GREEDY } from "../../engine/sampling.ts";
import type { GenerationRequest, Output, Usage } from "../../engine/sequence.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { createLedgerRunner } from "./ledger-runner.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

const { config, tokenizerMetadata } = makeTinyGguf();
export { config };
export const text = Tokenizer.fromGguf(tokenizerMetadata);
export const SLOT_LENGTH = 64;

export const request = (promptTokens: readonly number[], part: Partial<GenerationRequest> = {}): GenerationRequest => ({
  promptTokens,
  sampling: GREEDY,
  maxTokens: 8,
  stop: [],
  ...part,
});

/** A loop on a ledger, with a clock that goes on by one with each look. */
export class Bench {
  readonly runner;
  readonly loop: EngineLoop;
  readonly said = new Map<number, { text: string; outputs: Output[]; usage: Usage | undefined }>();
  #now = 0;
  #onStep: (() => void) | undefined;

  constructor(slots: number, options: Partial<EngineLoopOptions> = {}) {
    this.runner = createLedgerRunner(config, { slots, slotLength: SLOT_LENGTH });
    this.loop = new EngineLoop({
      runner: this.runner,
      text,
      yieldTurn: () => Promise.resolve(),
      now: () => ++this.#now,
      onStep: () => this.#onStep?.(),
      ...options,
    });
  }

  submit(id: number, wanted: GenerationRequest): void {
    const said = { text: "", outputs: [] as Output[], usage: undefined as Usage | undefined };
    this.said.set(id, said);
    this.loop.submit(id, wanted, {
      onOutput: (output, usage) => {
        said.text += output.text;
        said.outputs.push(output);
        said.usage = usage;
        this.loop.acknowledge(id, output.tokens.length);
      },
      onError: (error) => {
        throw error;
      },
    });
  }

  /** Calls back after each step of the loop, until it is idle. */
  async run(onStep?: () => void): Promise<void> {
    this.#onStep = onStep;
    await this.loop.idle();
  }

  async ask(id: number, wanted: GenerationRequest): Promise<readonly number[]> {
    this.submit(id, wanted);
    await this.run();
    return this.tokens(id);
  }

  tokens(id: number): readonly number[] {
    return this.said.get(id)!.outputs.flatMap(({ tokens }) => tokens);
  }
}
