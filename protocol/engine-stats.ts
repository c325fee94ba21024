/** What a replica's engines have done, as its agent passes it on at a low rate: levels, so a lost message costs nothing. For metrics only. */
import * as z from "zod";
import { ENGINES_MAX, HISTOGRAM_BUCKETS_MAX, REPLICAS_MAX } from "./limits.ts";

const count = z.number().nonnegative();
const histogramSchema = z
  .strictObject({
    bounds: z.array(count).max(HISTOGRAM_BUCKETS_MAX).readonly(),
    /** One more than bounds; not cumulative. */
    counts: z
      .array(count)
      .max(HISTOGRAM_BUCKETS_MAX + 1)
      .readonly(),
    sum: count,
  })
  .refine(({ bounds, counts }) => counts.length === bounds.length + 1, "One count more than bounds.")
  .readonly();

const everyEngine = { model: z.string().max(200), running: count, waiting: count, promptTokens: count };

/** Of a language model. */
const decoderReport = z
  .strictObject({
    ...everyEngine,
    kvUsage: count,
    cachedPromptTokens: count,
    prefillTokens: count,
    prefillMs: count,
    generatedTokens: count,
    decodeSteps: count,
    decodeMs: count,
    preemptions: count,
    finished: z.strictObject({ stop: count, length: count, cancelled: count }).readonly(),
    timeToFirstToken: histogramSchema,
    interTokenLatency: histogramSchema,
  })
  .readonly();
/** Of an encoder, or an ONNX graph. */
const graphReport = z
  .strictObject({
    ...everyEngine,
    kind: z.literal("graph"),
    runs: count,
    runMs: count,
    finished: z.strictObject({ stop: count, cancelled: count }).readonly(),
  })
  .readonly();

export const engineReportSchema = z.union([decoderReport, graphReport]);
/** One engine of a replica. */
export type EngineReport = z.output<typeof engineReportSchema>;

export const enginesSchema = z.strictObject({
  type: z.literal("engines"),
  replicas: z
    .array(z.strictObject({ replica: z.string(), engines: z.array(engineReportSchema).max(ENGINES_MAX) }))
    .max(REPLICAS_MAX),
});
export type Engines = z.output<typeof enginesSchema>;
