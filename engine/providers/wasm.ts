/**
 * Runs a prepared graph on ONNX Runtime Web's WASM provider, in Node and in tabs. Each run blocks the thread it is called on.
 *
 * Keys and values live in the WASM heap: each run's `present` outputs are tensors over the same memory as its `past` inputs.
 */
import { PREFILL_SCORED_TOKENS } from "../limits.ts";
import { WEIGHTS_FILE } from "../onnx/graph.ts";
import { DATA_TYPE } from "../onnx/messages.ts";
import type { PreparedModel } from "../prepare.ts";
import type { Runner } from "../types.ts";
import {
  assertCopy,
  assertOptions,
  decodeStep,
  everyToken,
  type KvLayout,
  kvLayout,
  lastOfEachRow,
  prefillStep,
  type RunnerOptions,
  type Step,
} from "./kv.ts";
import {
  allocate,
  allocateString,
  assertOrt,
  IN_HEAP,
  LOG_ERRORS,
  OPTIMISE_ALL,
  type OrtWasm,
  type OrtWasmFactory,
  type Pointer,
  SEQUENTIAL,
} from "./ort-wasm.ts";

const FLOAT = 4;
const INT64 = 8;
const POINTER = 4;

export interface WasmRunnerOptions extends RunnerOptions {
  /** ONNX Runtime's WASM module, where a bundler must find it; by default the package's own. */
  readonly loadModule?: () => Promise<OrtWasmFactory>;
}

/**
 * Loads a model prepared for the targets "wasm" or "f32". More than one thread needs SharedArrayBuffer, which a tab has only when
 * cross-origin isolated. The heap ends at 4 GiB: about 500 million parameters.
 */
export async function createWasmRunner(prepared: PreparedModel, options: WasmRunnerOptions): Promise<Runner> {
  assertOptions(prepared, options);
  const { threads, slots, slotLength } = options;
  const factory = await (options.loadModule ?? loadPackagedModule)();
  const module = await factory({ numThreads: threads });
  assertOrt(module, module._OrtInit(threads, LOG_ERRORS) === 0, "to start");
  const session = await createSession(module, prepared);
  const { config } = prepared;
  const layout = kvLayout(config, options);
  const steps = new StepRunner(module, session, layout, config.vocabulary);
  return {
    provider: "wasm",
    config,
    slots,
    slotLength,
    async prefill(slot, tokens, start, wantLogits) {
      const logits = await steps.run(prefillStep(layout, config, slot, tokens, start));
      return wantLogits ? logits : undefined;
    },
    async prefillScored(slot, tokens, start) {
      const step = prefillStep(layout, config, slot, tokens, start);
      return steps.run(step, everyToken(step));
    },
    decode: async (tokens, positions) => steps.run(decodeStep(layout, config, tokens, positions)),
    async copySlot(from, to, length) {
      assertCopy(layout, from, to, length);
      steps.copySlot(from, to, length);
    },
    async release() {
      steps.release();
      module._OrtReleaseSession(session);
    },
  };
}

async function loadPackagedModule(): Promise<OrtWasmFactory> {
  return (await import("onnxruntime-web/ort-wasm-simd-threaded.mjs")).default;
}

/** The weights are mounted, not copied: the runtime takes one tensor at a time from them. */
async function createSession(module: OrtWasm, { graph, weights }: PreparedModel): Promise<number> {
  const options = module._OrtCreateSessionOptions(
    OPTIMISE_ALL,
    false,
    false,
    SEQUENTIAL,
    false,
    0,
    0,
    LOG_ERRORS,
    0,
    0,
  );
  assertOrt(module, options !== 0, "to take its options");
  const model = allocate(module, graph.byteLength, "graph");
  module.HEAPU8.set(graph, model);
  module.mountExternalData(WEIGHTS_FILE, weights);
  try {
    const session = await module._OrtCreateSession(model, graph.byteLength, options);
    assertOrt(module, session !== 0, "to load the model");
    return session;
  } finally {
    module.unmountExternalData();
    module._OrtReleaseSessionOptions(options);
    module._free(model);
  }
}

/** Feeds one session from fixed places in the heap. */
class StepRunner {
  readonly #module: OrtWasm;
  readonly #session: number;
  readonly #layout: KvLayout;
  readonly #vocabulary: number;
  readonly #allocated: Pointer[] = [];
  /** One buffer per name of the layout. */
  readonly #kv: readonly Pointer[];
  /** Tensors over those buffers, by the slots they cover: made once, at most two sets per slot. */
  readonly #kvTensors = new Map<string, readonly number[]>();
  readonly #ids: Pointer;
  readonly #lastPositions: Pointer;
  readonly #longest: Pointer;
  readonly #selected: Pointer;
  #logits: Pointer;
  /** Rows that `#logits` has room for. */
  #logitRows: number;
  readonly #inputNames: Pointer;
  readonly #inputs: Pointer;
  readonly #outputNames: Pointer;
  readonly #outputs: Pointer;

  constructor(module: OrtWasm, session: number, layout: KvLayout, vocabulary: number) {
    this.#module = module;
    this.#session = session;
    this.#layout = layout;
    this.#vocabulary = vocabulary;
    const { names, slots, slotLength, slotElements } = layout;
    this.#kv = names.map(() => this.#zeroed(slots * slotElements * FLOAT));
    this.#ids = this.#allocate(Math.max(slotLength, slots) * INT64, "inputs");
    this.#lastPositions = this.#allocate(slots * 4, "inputs");
    this.#longest = this.#allocate(4, "inputs");
    this.#selected = this.#allocate(Math.max(slotLength, slots) * INT64, "inputs");
    this.#logits = this.#allocate(slots * vocabulary * FLOAT, "logits");
    this.#logitRows = slots;
    const inputs = ["input_ids", "seqlens_k", "total_len", "sel", ...names.map((name) => `past.${name}`)];
    const outputs = ["logits", ...names.map((name) => `present.${name}`)];
    this.#inputNames = this.#pointers(inputs.map((name) => this.#string(name)));
    this.#inputs = this.#allocate(inputs.length * POINTER, "inputs");
    this.#outputNames = this.#pointers(outputs.map((name) => this.#string(name)));
    this.#outputs = this.#allocate(outputs.length * POINTER, "outputs");
  }

  /** Logits `[selected.length * vocabulary]`: a view of the heap. */
  async run(step: Step, selectedTokens = lastOfEachRow(step)): Promise<Float32Array> {
    const { rows, sequence } = step;
    const selections = selectedTokens.length;
    this.#makeRoom(selections);
    const { buffer } = this.#module.HEAPU8;
    new BigInt64Array(buffer, this.#ids, rows * sequence).set(BigInt64Array.from(step.tokens, BigInt));
    new Int32Array(buffer, this.#lastPositions, rows).set(step.lastPositions);
    new Int32Array(buffer, this.#longest, 1)[0] = step.longest;
    new BigInt64Array(buffer, this.#selected, selections).set(BigInt64Array.from(selectedTokens, BigInt));
    const own = [
      this.#tensor("int64", this.#ids, [rows, sequence]),
      this.#tensor("int32", this.#lastPositions, [rows]),
      this.#tensor("int32", this.#longest, [1]),
      this.#tensor("int64", this.#selected, [selections]),
      this.#tensor("float32", this.#logits, [selections, 1, this.#vocabulary]),
    ];
    const [ids, lastPositions, longest, selected, logits] = own as [number, number, number, number, number];
    const kv = this.#kvOf(step.firstSlot, rows);
    try {
      this.#fill(this.#inputs, [ids, lastPositions, longest, selected, ...kv]);
      this.#fill(this.#outputs, [logits, ...kv]);
      const status = await this.#module._OrtRun(
        this.#session,
        this.#inputNames,
        this.#inputs,
        4 + kv.length,
        this.#outputNames,
        1 + kv.length,
        this.#outputs,
        0,
      );
      assertOrt(this.#module, status === 0, "to run a step");
    } finally {
      for (const tensor of own) this.#module._OrtReleaseTensor(tensor);
    }
    return new Float32Array(this.#module.HEAPU8.buffer, this.#logits, selections * this.#vocabulary);
  }

  #makeRoom(rows: number): void {
    if (rows <= this.#logitRows) return;
    // Once: what was too small stays where it is.
    this.#logitRows = Math.max(rows, PREFILL_SCORED_TOKENS);
    this.#logits = this.#allocate(this.#logitRows * this.#vocabulary * FLOAT, "logits");
  }

  copySlot(from: number, to: number, length: number): void {
    const targets = this.#layout.ranges(to, length);
    for (const pointer of this.#kv) {
      this.#layout
        .ranges(from, length)
        .forEach(({ start, end }, head) =>
          this.#module.HEAPU8.copyWithin(
            pointer + targets[head]!.start * FLOAT,
            pointer + start * FLOAT,
            pointer + end * FLOAT,
          ),
        );
    }
  }

  release(): void {
    for (const tensors of this.#kvTensors.values()) tensors.forEach((tensor) => this.#module._OrtReleaseTensor(tensor));
    this.#kvTensors.clear();
    for (const pointer of this.#allocated.splice(0)) this.#module._free(pointer);
  }

  #kvOf(firstSlot: number, rows: number): readonly number[] {
    const key = `${firstSlot}+${rows}`;
    let tensors = this.#kvTensors.get(key);
    if (tensors === undefined) {
      const offset = firstSlot * this.#layout.slotElements * FLOAT;
      tensors = this.#kv.map((pointer) => this.#tensor("float32", pointer + offset, this.#layout.shape(rows)));
      this.#kvTensors.set(key, tensors);
    }
    return tensors;
  }

  #tensor(type: "float32" | "int32" | "int64", data: Pointer, shape: readonly number[]): number {
    const module = this.#module;
    const elements = shape.reduce((product, size) => product * size, 1);
    const stack = module.stackSave();
    const dimensions = module.stackAlloc(shape.length * POINTER);
    shape.forEach((size, i) => module.setValue(dimensions + i * POINTER, size, "i32"));
    const tensor = module._OrtCreateTensor(
      DATA_TYPE[type],
      data,
      elements * (type === "int64" ? INT64 : FLOAT),
      dimensions,
      shape.length,
      IN_HEAP,
    );
    module.stackRestore(stack);
    assertOrt(module, tensor !== 0, "to make a tensor");
    return tensor;
  }

  #fill(array: Pointer, values: readonly number[]): void {
    values.forEach((value, i) => this.#module.setValue(array + i * POINTER, value, "*"));
  }

  #allocate(byteLength: number, purpose: string): Pointer {
    const pointer = allocate(this.#module, byteLength, purpose);
    this.#allocated.push(pointer);
    return pointer;
  }

  #zeroed(byteLength: number): Pointer {
    const pointer = this.#allocate(byteLength, "keys and values");
    this.#module.HEAPU8.fill(0, pointer, pointer + byteLength);
    return pointer;
  }

  #string(text: string): Pointer {
    const pointer = allocateString(this.#module, text);
    this.#allocated.push(pointer);
    return pointer;
  }

  #pointers(values: readonly Pointer[]): Pointer {
    const array = this.#allocate(values.length * POINTER, "names");
    this.#fill(array, values);
    return array;
  }
}
