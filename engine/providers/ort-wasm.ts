/**
 * The C interface of ONNX Runtime's WASM build, as far as the engine calls it. Going below the JavaScript API is what keeps keys and
 * values in the WASM heap: the API copies every tensor in and out of it on every run.
 */

/** A byte address in the WASM heap. */
export type Pointer = number;

export interface OrtWasm {
  readonly HEAPU8: Uint8Array;
  _malloc(byteLength: number): Pointer;
  _free(pointer: Pointer): void;
  stackSave(): Pointer;
  stackAlloc(byteLength: number): Pointer;
  stackRestore(pointer: Pointer): void;
  getValue(pointer: Pointer, type: "*"): Pointer;
  setValue(pointer: Pointer, value: number, type: "*" | "i32"): void;
  lengthBytesUTF8(text: string): number;
  stringToUTF8(text: string, pointer: Pointer, capacity: number): void;
  UTF8ToString(pointer: Pointer): string;
  /** What external data named `path` is read from: anything with a length and `subarray`. */
  mountExternalData(
    path: string,
    data: { readonly byteLength: number; subarray(start: number, end: number): Uint8Array },
  ): void;
  unmountExternalData(): void;
  /** Zero is success here and below; handles are never zero. */
  _OrtInit(threads: number, logLevel: number): number;
  _OrtGetLastError(code: Pointer, message: Pointer): void;
  _OrtCreateSessionOptions(
    optimization: number,
    memoryArena: boolean,
    memoryPattern: boolean,
    executionMode: number,
    profiling: boolean,
    profilePrefix: Pointer,
    logId: Pointer,
    logSeverity: number,
    logVerbosity: number,
    optimizedModelPath: Pointer,
  ): number;
  _OrtReleaseSessionOptions(options: number): number;
  _OrtCreateSession(model: Pointer, byteLength: number, options: number): number | Promise<number>;
  _OrtReleaseSession(session: number): number;
  _OrtCreateTensor(
    type: number,
    data: Pointer,
    byteLength: number,
    shape: Pointer,
    rank: number,
    location: number,
  ): number;
  _OrtReleaseTensor(tensor: number): number;
  _OrtRun(
    session: number,
    inputNames: Pointer,
    inputs: Pointer,
    inputCount: number,
    outputNames: Pointer,
    outputCount: number,
    outputs: Pointer,
    options: number,
  ): number | Promise<number>;
}

/** What the build's module exports. `numThreads` - 1 workers are started. */
export type OrtWasmFactory = (settings: {
  readonly numThreads: number;
  readonly locateFile?: (name: string) => string;
}) => Promise<OrtWasm>;

/** OrtLoggingLevel: errors. */
export const LOG_ERRORS = 3;
/** GraphOptimizationLevel: all. */
export const OPTIMISE_ALL = 99;
/** ExecutionMode: one operator at a time. */
export const SEQUENTIAL = 0;
/** Location of a tensor's data: the WASM heap. */
export const IN_HEAP = 1;

/** Throws with the runtime's own message unless `ok`. */
export function assertOrt(module: OrtWasm, ok: boolean, doing: string): void {
  if (ok) return;
  const stack = module.stackSave();
  const code = module.stackAlloc(8);
  module._OrtGetLastError(code, code + 4);
  const message = module.UTF8ToString(module.getValue(code + 4, "*"));
  module.stackRestore(stack);
  throw new Error(`ONNX Runtime failed ${doing}: ${message}`);
}

/** Memory of the heap, or an error that says how much was asked for. */
export function allocate(module: OrtWasm, byteLength: number, purpose: string): Pointer {
  const pointer = module._malloc(byteLength) >>> 0;
  if (pointer === 0) {
    throw new Error(
      `the WASM heap has no room for ${Math.ceil(byteLength / 1e6)} MB of ${purpose}: use fewer or shorter slots, or a smaller model`,
    );
  }
  return pointer;
}

/** A zero-terminated copy of `text` in the heap. */
export function allocateString(module: OrtWasm, text: string): Pointer {
  const capacity = module.lengthBytesUTF8(text) + 1;
  const pointer = allocate(module, capacity, "names");
  module.stringToUTF8(text, pointer, capacity);
  return pointer;
}
