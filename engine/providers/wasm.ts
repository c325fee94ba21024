/**
 * Runs a decoder on the engine's own WebAssembly kernels (`engine/kernels/`), straight on weights in blocks, in Node and in tabs. Each step
 * keeps the thread it is called on; others that are started for it take part.
 *
 * Weights, keys, values and all that a step works with lie in one memory. A row's result is the same to the last bit whatever runs beside it:
 * neither batches nor chunks of prompts nor the number of threads change an answer.
 */
import { layOut, type DecoderMemory, PAGE } from "../kernels/decoder-memory.ts";
import { type Phase, phaseCount } from "../kernels/decoder-phases.ts";
import type { StoredDecoder } from "../kernels/decoder-weights.ts";
import { compileKernels } from "../kernels/instance.ts";
import { StepWords } from "../kernels/step-words.ts";
import { controlOf, controlWords, lead, runAlone } from "../kernels/team.ts";
import { type StartTeamThread, type TeamSeed, teamPhases, type TeamThread } from "../kernels/team-thread.ts";
import { WEIGHTS_COPY_BYTES } from "../limits.ts";
import { fillTable } from "../onnx/rotary.ts";
import { runsOnKernels } from "../onnx/target.ts";
import type { PreparedModel } from "../prepare.ts";
import type { Runner } from "../types.ts";
import {
  assertCopy,
  assertOptions,
  copyPositions,
  decodeStep,
  kvLayout,
  prefillStep,
  type RunnerOptions,
} from "./kv.ts";

const FLOAT = 4;

export interface WasmRunnerOptions extends RunnerOptions {
  /** Starts a thread that shares memory with this one; absent where none can, and then there is one thread. */
  readonly startThread?: StartTeamThread | undefined;
}

/**
 * Loads a model prepared for the targets "wasm" or "wasm-f32". Throws a RangeError where weights, keys and values together are more than
 * WebAssembly addresses, 4 GiB.
 */
export async function createWasmRunner(prepared: PreparedModel, options: WasmRunnerOptions): Promise<Runner> {
  assertOptions(prepared, options);
  const { config, weights } = prepared;
  const { slots, slotLength, startThread } = options;
  const threads = startThread === undefined ? 1 : options.threads;
  const decoder = decoderOf(prepared);
  const kv = kvLayout(config, options);
  const rotations = new Map(decoder.layers.map(({ rotation }) => [rotation.paces, rotation]));
  const places = layOut({
    config,
    weightBytes: weights.byteLength,
    kv,
    threads,
    rotations: rotations.size,
    controlWords: controlWords(phaseCount(config)),
  });
  const isShared = threads > 1;
  const memory = allocate(places.pages, isShared);
  const { buffer } = memory;
  copyWeights(prepared, new Uint8Array(buffer, places.weights, weights.byteLength));
  for (const [i, { paces, scale }] of [...rotations.values()].entries()) {
    const { headDim, ropeDim = headDim } = config;
    const angles = { paces: new Float64Array(buffer, places.weights + paces, ropeDim / 2), scale, pairs: headDim / 2 };
    const table = (at: number): Float32Array => new Float32Array(buffer, at, slotLength * angles.pairs);
    const { cos, sin } = places.rotary[i]!;
    fillTable(table(cos), angles, Math.cos);
    fillTable(table(sin), angles, Math.sin);
  }
  const seed: TeamSeed = { modules: compileKernels(isShared), memory, places, config, decoder, slotLength, threads };
  const phases = teamPhases(seed);
  const members = await startTeam(seed, startThread);
  const stepper = new Stepper(memory, places, phases, members);
  const floats = new Float32Array(buffer);

  const logits = (rows: number): Float32Array => new Float32Array(buffer, places.logits, rows * config.vocabulary);

  /** Runs tokens `from` and on of a prompt's chunk that begins at position `start`. */
  const prompt = ({ slot, tokens, start, from, count }: PromptRows, selection: readonly number[]): void =>
    stepper.run(count, selection, 0, (step, row) => {
      step.tokens[row] = tokens[from + row]!;
      step.slots[row] = slot;
      step.positions[row] = start + from + row;
    });

  return {
    provider: "wasm",
    config,
    slots,
    slotLength,
    lost: stepper.lost,
    async prefill(slot, tokens, start, wantLogits) {
      prefillStep(kv, config, slot, tokens, start);
      for (let from = 0; from < tokens.length; from += places.rows) {
        const count = Math.min(tokens.length - from, places.rows);
        const isLast = from + count === tokens.length;
        prompt({ slot, tokens, start, from, count }, wantLogits && isLast ? [count - 1] : []);
      }
      return wantLogits ? logits(1) : undefined;
    },
    async prefillScored(slot, tokens, start) {
      prefillStep(kv, config, slot, tokens, start);
      const all = new Float32Array(tokens.length * config.vocabulary);
      // As many as there is room for logits.
      const most = Math.min(places.rows, slots);
      for (let from = 0; from < tokens.length; from += most) {
        const count = Math.min(tokens.length - from, most);
        prompt({ slot, tokens, start, from, count }, allOf(count));
        all.set(logits(count), from * config.vocabulary);
      }
      return all;
    },
    async decode(tokens, positions) {
      decodeStep(kv, config, tokens, positions);
      for (let from = 0; from < tokens.length; from += places.rows) {
        const count = Math.min(tokens.length - from, places.rows);
        stepper.run(count, allOf(count), from, (step, row) => {
          step.tokens[row] = tokens[from + row]!;
          step.slots[row] = from + row;
          step.positions[row] = positions[from + row]!;
        });
      }
      return logits(tokens.length);
    },
    async copySlot(from, to, length) {
      assertCopy(kv, from, to, length);
      for (const address of places.kv) copyPositions(kv, floats.subarray(address / FLOAT), from, to, length);
    },
    release: () => stepper.release(),
  };
}

interface PromptRows {
  readonly slot: number;
  readonly tokens: Int32Array;
  readonly start: number;
  readonly from: number;
  readonly count: number;
}

const allOf = (rows: number): number[] => Array.from({ length: rows }, (_, row) => row);

function decoderOf({ target, graph, weights }: PreparedModel): StoredDecoder {
  if (!runsOnKernels(target)) throw new Error(`the model is prepared for ${target}, not for wasm`);
  const decoder = JSON.parse(new TextDecoder().decode(graph)) as StoredDecoder;
  if (weights.byteLength !== decoder.byteLength)
    throw new Error(
      `the weights have ${weights.byteLength} bytes instead of ${decoder.byteLength}: prepare the model again`,
    );
  return decoder;
}

/** All but the calling thread; none is left where one can't be started. */
async function startTeam(seed: TeamSeed, startThread: StartTeamThread | undefined): Promise<readonly TeamThread[]> {
  const members: TeamThread[] = [];
  try {
    for (let thread = 1; thread < seed.threads; thread++) members.push(startThread!(seed, thread));
    return members;
  } catch (error) {
    await Promise.all(members.map((member) => member.terminate()));
    throw error;
  }
}

function allocate(pages: number, shared: boolean): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
  } catch (cause) {
    throw new Error(
      `this machine gives WebAssembly no ${Math.ceil((pages * PAGE) / 1e6)} MB: use fewer or shorter slots, or a smaller model`,
      { cause },
    );
  }
}

/** In stretches: weights may be a file. */
function copyWeights({ weights }: PreparedModel, target: Uint8Array): void {
  for (let at = 0; at < target.byteLength; at += WEIGHTS_COPY_BYTES)
    target.set(weights.subarray(at, Math.min(target.byteLength, at + WEIGHTS_COPY_BYTES)), at);
}

/** Runs steps with the members of the team, as long as all of them live. */
class Stepper {
  readonly lost: Promise<string>;
  readonly #step: StepWords;
  readonly #control: Int32Array;
  readonly #phases: readonly Phase[];
  readonly #members: readonly TeamThread[];
  #failure: string | undefined;
  #isReleased = false;

  constructor(
    { buffer }: WebAssembly.Memory,
    { step, rows, control }: DecoderMemory,
    phases: readonly Phase[],
    members: readonly TeamThread[],
  ) {
    this.#step = new StepWords(buffer, step, rows);
    this.#control = controlOf(buffer, control, phases.length);
    this.#phases = phases;
    this.#members = members;
    this.lost = new Promise((resolve) => {
      for (const member of members) {
        member.onEnd((reason) => {
          this.#failure ??= `a thread of the wasm provider ended: ${reason}`;
          if (!this.#isReleased) resolve(this.#failure);
        });
      }
    });
  }

  /** `fill` says what each row is; `selection` are the rows whose logits come, from row `firstLogits` of the logits on. */
  run(
    rows: number,
    selection: readonly number[],
    firstLogits: number,
    fill: (step: StepWords, row: number) => void,
  ): void {
    if (this.#isReleased) throw new Error("the model was released");
    if (this.#failure !== undefined) throw new Error(this.#failure);
    const step = this.#step;
    step.rows = rows;
    step.selected = selection.length;
    step.firstLogits = firstLogits;
    step.selection.set(selection);
    for (let row = 0; row < rows; row++) fill(step, row);
    if (this.#members.length === 0) return runAlone(this.#phases);
    try {
      lead(this.#control, this.#phases);
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error);
      throw error;
    }
  }

  async release(): Promise<void> {
    this.#isReleased = true;
    await Promise.all(this.#members.map((member) => member.terminate()));
  }
}
