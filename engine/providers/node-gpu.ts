/** WebGPU in Node through Dawn (`webgpu` package), arranged so that ONNX Runtime Web finds what it expects of a browser. */
import type { Gpu } from "./gpu-device.ts";

let gpu: Promise<Gpu> | undefined;

/**
 * Dawn's entry point; defines WebGPU's globals and `navigator.gpu` in this thread. Rejects where the package has no binary for the
 * platform. While it lives it keeps the event loop alive: run it in a thread that is ended, not left.
 */
export function nodeGpu(): Promise<Gpu> {
  gpu ??= start();
  return gpu;
}

async function start(): Promise<Gpu> {
  const { create, globals } = await import("webgpu").catch((cause: unknown) => {
    throw new Error(`Dawn (the webgpu package) does not load on ${process.platform}-${process.arch}`, { cause });
  });
  Object.assign(globalThis, globals);
  acceptSharedMemory();
  const dawn = create([]);
  Object.defineProperty(globalThis.navigator, "gpu", { value: dawn, configurable: true });
  return dawn;
}

/** Dawn's `writeBuffer` refuses views of shared memory, which the standard allows and ONNX Runtime's heap is: copies them first. */
function acceptSharedMemory(): void {
  const original = GPUQueue.prototype.writeBuffer;
  GPUQueue.prototype.writeBuffer = function (buffer, bufferOffset, data, dataOffset = 0, size) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data;
    if (!(memory instanceof SharedArrayBuffer)) {
      const source = data as GPUAllowSharedBufferSource;
      return size === undefined
        ? original.call(this, buffer, bufferOffset, source, dataOffset)
        : original.call(this, buffer, bufferOffset, source, dataOffset, size);
    }
    // Offset and size count elements of a typed array, else bytes.
    const unit = ArrayBuffer.isView(data) && "BYTES_PER_ELEMENT" in data ? Number(data.BYTES_PER_ELEMENT) : 1;
    const start = (ArrayBuffer.isView(data) ? data.byteOffset : 0) + dataOffset * unit;
    const byteLength = size === undefined ? data.byteLength - dataOffset * unit : size * unit;
    const copy = new Uint8Array(byteLength);
    copy.set(new Uint8Array(memory, start, byteLength));
    return original.call(this, buffer, bufferOffset, copy, 0, byteLength);
  };
}
