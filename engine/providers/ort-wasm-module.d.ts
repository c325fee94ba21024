/** onnxruntime-web exports this module without types. */
declare module "onnxruntime-web/ort-wasm-simd-threaded.mjs" {
  const factory: import("./ort-wasm.ts").OrtWasmFactory;
  export default factory;
}
