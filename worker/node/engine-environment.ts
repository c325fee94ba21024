/** What the environment of a process says in which ONNX Runtime runs: native code reads it when it is loaded, so whoever starts the process sets it. */
export const ENGINE_ENVIRONMENT = {
  /** Unless this is "1" ONNX Runtime reports to its makers. */
  ORT_DISABLE_TELEMETRY: "1",
  /**
   * Bytes from which the C library's allocator gives memory back at once. Its own bound rises with what was freed: what loading a model took
   * for a moment, its weights once more, then often stays with the process (SmolLM2-135M: 190 MB).
   */
  MALLOC_MMAP_THRESHOLD_: "1048576",
} as const;
