/** Every architecture in every provider against the plain f32 oracle: prompts in chunks beyond the window, a ragged batch, decoding. */
import { expect, test } from "vitest";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import type { Target } from "../../../engine/onnx/target.ts";
import { prepareInMemory } from "../../../engine/prepare.ts";
import { createNativeRunner } from "../../../engine/providers/native.ts";
import { createWasmRunner } from "../../../engine/providers/wasm.ts";
import { createReferenceRunner } from "../../../engine/reference/decoder.ts";
import type { GgufFormat } from "../../support/gguf-writer.ts";
import { expectClose, oracleLogits } from "../../support/expected-logits.ts";
import { SCRIPT_SLOTS, scriptedLogits } from "../../support/scripted-logits.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { TINY_CONFIGS, type TinyKind } from "../../support/tiny-model.ts";

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const KINDS = Object.keys(TINY_CONFIGS) as TinyKind[];

/** Largest difference of a logit; the oracle's have a standard deviation of 4 to 8. */
const TOLERANCE = { f32: 2e-3, int8Activations: 2.5, int16Activations: 3e-2 };

const CASES = KINDS.flatMap(
  (kind) =>
    [
      { kind, target: "f32", format: "F32", create: createNativeRunner, tolerance: TOLERANCE.f32 },
      // Rotary tables are f32 everywhere: what differs by them alone need not be quantised too.
      ...(TINY_CONFIGS[kind] === TINY_CONFIGS.yarn || "longRope" in TINY_CONFIGS[kind]
        ? []
        : ([
            { kind, target: "native", format: "F32", create: createNativeRunner, tolerance: TOLERANCE.f32 },
            {
              kind,
              target: "native",
              format: "Q4_1",
              create: createNativeRunner,
              tolerance: TOLERANCE.int8Activations,
            },
          ] as const)),
      { kind, target: "wasm-f32", format: "Q8_0", create: createWasmRunner, tolerance: TOLERANCE.f32 },
      { kind, target: "wasm", format: "Q8_0", create: createWasmRunner, tolerance: TOLERANCE.int16Activations },
      { kind, target: "wasm", format: "Q4_1", create: createWasmRunner, tolerance: TOLERANCE.int16Activations },
    ] as const satisfies readonly { target: Target; format: GgufFormat; [key: string]: unknown }[],
);

test.each(CASES)("$kind on $target, $format file", async ({ kind, target, format, create, tolerance }) => {
  const prepared = await prepareInMemory(sourceOfBytes(makeTinyGguf({ kind, format }).bytes), {
    target,
    slotLength: SCRIPT_SLOTS.slotLength,
  });
  const runner = await create(prepared, { ...SCRIPT_SLOTS, threads: 1 });
  try {
    expectClose(await scriptedLogits(runner), await oracleLogits(kind, format), tolerance);
  } finally {
    await runner.release();
  }
});

test("what sets the architectures apart makes a difference", async () => {
  const { config, weights } = makeTinyGguf({ kind: "gemma3" });
  const whole = await scriptedLogits(createReferenceRunner(config, weights, SCRIPT_SLOTS));
  const layers = weights.layers.map((layer) => ({ ...layer, queryNorm: undefined }));
  const changes = {
    window: [{ ...config, window: { ...config.window!, length: 200 } }, weights],
    localBase: [{ ...config, window: { ...config.window!, ropeTheta: undefined } }, weights],
    globalEvery: [{ ...config, window: { ...config.window!, globalEvery: 5 } }, weights],
    factors: [{ ...config, ropeFactors: undefined }, weights],
    embeddingScale: [{ ...config, embeddingScale: undefined }, weights],
    headNorm: [config, { ...weights, layers }],
  } as const;
  const { config: long, weights: longWeights } = makeTinyGguf({ kind: "longrope" });
  const longWhole = await scriptedLogits(createReferenceRunner(long, longWeights, SCRIPT_SLOTS));
  const { config: part, weights: partWeights } = makeTinyGguf({ kind: "partial" });
  const [first] = await scriptedLogits(createReferenceRunner(part, partWeights, SCRIPT_SLOTS));
  const [turned] = await scriptedLogits(createReferenceRunner({ ...part, ropeDim: 16 }, partWeights, SCRIPT_SLOTS));
  expect(first!.some((value, i) => Math.abs(value - turned![i]!) > 0.1)).toBe(true);
  for (const [name, changed] of Object.entries({
    list: { ...long, longRope: { ...long.longRope!, original: 128 } },
    scale: { ...long, ropeScale: 1 },
  })) {
    const other = await scriptedLogits(createReferenceRunner(changed, longWeights, SCRIPT_SLOTS));
    expect(
      other[0]!.some((value, i) => Math.abs(value - longWhole[0]![i]!) > 0.1),
      name,
    ).toBe(true);
  }
  for (const [name, [changedConfig, changedWeights]] of Object.entries(changes)) {
    const changed = await scriptedLogits(createReferenceRunner(changedConfig, changedWeights, SCRIPT_SLOTS));
    const last = whole.length - 1;
    const worst = whole[last]!.reduce((most, value, i) => Math.max(most, Math.abs(value - changed[last]![i]!)), 0);
    expect(worst, name).toBeGreaterThan(0.1);
  }
});
