/** onnxruntime-web exports this module without types. */
declare module "onnxruntime-web/ort-wasm-simd-threaded.mjs" {
  import type { OrtWasmFactory } from "./ort-wasm.ts";
  const factory: OrtWasmFactory;
  export default factory;
}
