/**
 * Chooses tokens on the GPU, where the logits are: only ids, and what log-probabilities need, come back. The twin of `../chooser.ts`: the same
 * token but where the draw, top-p or min-p fall within a hundred-thousandth of a border, or two scores are equal but for their last bit.
 */
import type { Choice, Draw } from "../choice.ts";
import { BEST_MAX, CHOOSE_WGSL, CHOSEN_WORDS } from "../kernels/choose-wgsl.ts";
import { oneOf } from "../kernels/rank-wgsl.ts";
import type { TokenLogprob } from "../types.ts";
import { DrawWords } from "./draw-words.ts";
import type { GpuRuntime } from "./ort-webgpu.ts";

const WORD = 4;

/** Of a workgroup. Where threads are only played by a CPU each one more costs, and gains nothing. */
const THREADS = 256;
const SOFTWARE_THREADS = 64;

/** Buffers for a number of rows. */
interface Rows {
  readonly count: number;
  /** `[count, vocabulary]` f32. */
  readonly logits: GPUBuffer;
  readonly keys: GPUBuffer;
  readonly members: GPUBuffer;
  readonly chosen: GPUBuffer;
  readonly readable: GPUBuffer;
}

export class GpuChooser {
  readonly #gpu: GpuRuntime;
  readonly #vocabulary: number;
  readonly #pipeline: GPUComputePipeline;
  readonly #words: DrawWords;
  #rows: Rows | undefined;
  #asked: GPUBuffer | undefined;
  #bound: GPUBindGroup | undefined;

  private constructor(gpu: GpuRuntime, vocabulary: number, pipeline: GPUComputePipeline) {
    this.#gpu = gpu;
    this.#vocabulary = vocabulary;
    this.#pipeline = pipeline;
    this.#words = new DrawWords(vocabulary);
  }

  /** Compiles the kernel. Rejects where the device can't. */
  static async create(gpu: GpuRuntime, vocabulary: number, isSoftware: boolean): Promise<GpuChooser> {
    const { device } = gpu;
    const module = device.createShaderModule({ code: CHOOSE_WGSL });
    const constants = { vocabulary, one: oneOf(vocabulary), threads: isSoftware ? SOFTWARE_THREADS : THREADS };
    const pipeline = await gpu.whileThere(
      device.createComputePipelineAsync({ layout: "auto", compute: { module, constants } }),
    );
    return new GpuChooser(gpu, vocabulary, pipeline);
  }

  /** Where the next rows' logits are to be, `[rows, vocabulary]` f32 from the buffer's beginning. Stays the same while it is large enough. */
  logits(rows: number): GPUBuffer {
    return this.#room(rows).logits;
  }

  /**
   * Chooses for the rows in `logits`, one draw for each; undefined where nothing is asked of a row.
   * @throws where a row is not usable (not finite, or all the same), a GrammarError where nothing may come, and where the device is lost
   */
  async choose(draws: readonly (Draw | undefined)[]): Promise<readonly (Choice | undefined)[]> {
    const { device } = this.#gpu;
    const words = this.#words.of(draws);
    const { chosen, readable } = this.#room(draws.length);
    const asked = this.#askedRoom(words.byteLength);
    device.queue.writeBuffer(asked, 0, words);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#pipeline);
    pass.setBindGroup(0, this.#bindGroup());
    pass.dispatchWorkgroups(draws.length);
    pass.end();
    const byteLength = draws.length * CHOSEN_WORDS * WORD;
    encoder.copyBufferToBuffer(chosen, 0, readable, 0, byteLength);
    device.queue.submit([encoder.finish()]);
    await this.#gpu.whileThere(readable.mapAsync(GPUMapMode.READ, 0, byteLength));
    const results = readable.getMappedRange(0, byteLength).slice(0);
    readable.unmap();
    return draws.map((draw, row) => draw && this.#choice(results, row * CHOSEN_WORDS, draw));
  }

  #choice(results: ArrayBuffer, at: number, { logprobs }: Draw): Choice {
    const words = new Uint32Array(results, at * WORD, CHOSEN_WORDS);
    const floats = new Float32Array(results, at * WORD, CHOSEN_WORDS);
    const [isUsable, token] = words;
    if (isUsable !== 1) throw new Error("the model gave no usable logits (NaN, infinite or all the same)");
    if (logprobs === undefined) return { token: token! };
    const normaliser = floats[3]! + Math.log(floats[4]!);
    const entry = (place: number): TokenLogprob => ({ token: words[place]!, logprob: floats[place + 1]! - normaliser });
    const length = Math.min(logprobs, BEST_MAX, this.#vocabulary);
    return { token: token!, logprob: { ...entry(1), top: Array.from({ length }, (_, i) => entry(5 + 2 * i)) } };
  }

  destroy(): void {
    this.#drop(this.#rows);
    this.#asked?.destroy();
  }

  #room(count: number): Rows {
    if (this.#rows !== undefined && this.#rows.count >= count) return this.#rows;
    this.#drop(this.#rows);
    const { device, buffer } = this.#gpu;
    const row = this.#vocabulary * WORD;
    this.#rows = {
      count,
      logits: buffer(count * row),
      keys: buffer(count * row),
      members: buffer(count * row),
      chosen: buffer(count * CHOSEN_WORDS * WORD),
      readable: device.createBuffer({
        size: count * CHOSEN_WORDS * WORD,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      }),
    };
    this.#bound = undefined;
    return this.#rows;
  }

  #askedRoom(byteLength: number): GPUBuffer {
    if (this.#asked !== undefined && this.#asked.size >= byteLength) return this.#asked;
    this.#asked?.destroy();
    // Histories grow a token a step: twice as much lasts.
    this.#asked = this.#gpu.buffer(2 * byteLength);
    this.#bound = undefined;
    return this.#asked;
  }

  #bindGroup(): GPUBindGroup {
    if (this.#bound === undefined) {
      const { logits, keys, members, chosen } = this.#rows!;
      this.#bound = this.#gpu.device.createBindGroup({
        layout: this.#pipeline.getBindGroupLayout(0),
        entries: [logits, this.#asked!, keys, members, chosen].map((buffer, binding) => ({
          binding,
          resource: { buffer },
        })),
      });
    }
    return this.#bound;
  }

  #drop(rows: Rows | undefined): void {
    if (rows === undefined) return;
    for (const buffer of [rows.logits, rows.keys, rows.members, rows.chosen, rows.readable]) buffer.destroy();
  }
}
