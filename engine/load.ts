/**
 * Which provider runs a model: tries those that the spec allows, best first, and says why one was passed over. How a provider is
 * made and how a prepared model is opened are arguments.
 */
import type { PreparedGraph } from "./graph-model.ts";
import type { PreparedModel } from "./prepare.ts";
import type { GraphSession, GraphSessionOptions } from "./providers/graph-session.ts";
import type { RunnerOptions } from "./providers/kv.ts";
import type { LoadProgress, LoadSpec, PreparedReference } from "./thread-messages.ts";
import type { Loaded, LoadedSession } from "./thread.ts";
import { kvBudget, kvBytesPerToken, slotsWithin } from "./slot-budget.ts";
import { Tokenizer } from "./tokenizer/tokenizer.ts";
import type { ModelConfig, ProviderName, Runner } from "./types.ts";

/** Best first. */
export const PROVIDER_ORDER: readonly ProviderName[] = ["webgpu", "native", "wasm"];

export interface LoadOptions extends RunnerOptions {
  readonly allowSoftwareGpu: boolean;
  readonly onStage: (stage: string) => void;
}

export interface LoadHost {
  open(reference: PreparedReference): Promise<PreparedModel | PreparedGraph>;
  /** How to make a runner; a provider that this platform lacks is absent. Rejects with a sentence where it can't. */
  readonly providers: Readonly<
    Partial<Record<ProviderName, (model: PreparedModel, options: LoadOptions) => Promise<Runner>>>
  >;
  /** The same for graphs that aren't our decoders. */
  readonly sessions?: Readonly<
    Partial<Record<ProviderName, (graph: PreparedGraph, options: GraphSessionOptions) => Promise<GraphSession>>>
  >;
}

/** Loads the model that `spec` names. Rejects with the reasons of every provider that was tried. */
export async function loadModel(
  spec: LoadSpec,
  host: LoadHost,
  onProgress: (progress: LoadProgress) => void,
): Promise<Loaded | LoadedSession> {
  checkSpec(spec);
  const notes: string[] = [];
  for (const name of spec.provider === "auto" ? PROVIDER_ORDER : [spec.provider]) {
    const reference = spec.prepared[name];
    const create = host.providers[name];
    if (reference === undefined || create === undefined) {
      if (spec.provider !== "auto")
        notes.push(
          reference === undefined ? `the model is not prepared for ${name}` : `${name} does not exist on this platform`,
        );
      continue;
    }
    try {
      onProgress({ stage: "reading" });
      const model = await host.open(reference);
      if ("file" in model) {
        onProgress({ stage: `session (${name})` });
        const create = host.sessions?.[name];
        if (create === undefined) throw new Error("encoders and ONNX files don't run on this platform");
        const { threads, allowSoftwareGpu = false, warmUp = [] } = spec;
        return { session: await create(model, { threads, allowSoftwareGpu, warmUp }), graph: model, notes };
      }
      onProgress({ stage: "tokenizer" });
      const tokenizer = new Tokenizer(model.tokenizer);
      onProgress({ stage: `session (${name})` });
      const slotLength = Math.min(spec.slotLength, model.positions, model.config.contextLength);
      const slots = slotsFor(name, model, spec, slotLength);
      if (slots < spec.slots) notes.push(fewer(slots, spec.slots, slotLength, model.config));
      const runner = await create(model, {
        threads: spec.threads,
        slots,
        slotLength,
        allowSoftwareGpu: spec.allowSoftwareGpu ?? false,
        onStage: (stage) => onProgress({ stage }),
      });
      return { runner, tokenizer, notes };
    } catch (error) {
      notes.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Error(
    `no provider could load the model (${notes.join("; ") || "it is prepared for none that this platform has"})`,
  );
}

/** As many as the spec says, or as there is memory for. */
function slotsFor(name: ProviderName, { config, weights }: PreparedModel, spec: LoadSpec, slotLength: number): number {
  if (spec.memory === undefined) return spec.slots;
  const budget = kvBudget(name, spec.memory, weights.byteLength);
  return slotsWithin(budget, slotLength * kvBytesPerToken(config), spec.slots);
}

function fewer(slots: number, wanted: number, slotLength: number, config: ModelConfig): string {
  const megabytes = Math.ceil((slotLength * kvBytesPerToken(config)) / 1e6);
  return `${slots} of ${wanted} slots: each of ${slotLength} tokens takes ${megabytes} MB, and there is no memory for more`;
}

function checkSpec({ threads, slots, slotLength }: LoadSpec): void {
  for (const [name, value] of Object.entries({ threads, slots, slotLength })) {
    if (!Number.isInteger(value) || value < 1)
      throw new RangeError(`${name} must be a whole number above 0, not ${value}`);
  }
}
