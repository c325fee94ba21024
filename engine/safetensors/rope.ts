/** Rotary position embedding's base and stretching, as the Transformers library writes them in config.json. */
import { CheckpointError } from "../gguf/error.ts";
import type { ModelConfig } from "../types.ts";
import { isRecord, type JsonRecord, numberOf } from "./json.ts";

/** Base and factors of layers that see everything. Throws CheckpointError for stretchings that aren't supported, by name. */
export function ropeOf(
  config: JsonRecord,
  headDim: number,
  fallback: number,
): Pick<ModelConfig, "ropeTheta" | "ropeFactors"> {
  // Version 5 has one object for both, Gemma's one for each kind of layer.
  const parameters = isRecord(config["rope_parameters"]) ? config["rope_parameters"] : undefined;
  const own = parameters && isRecord(parameters["full_attention"]) ? parameters["full_attention"] : parameters;
  const scaling = own ?? (isRecord(config["rope_scaling"]) ? config["rope_scaling"] : {});
  const ropeTheta = numberOf(own ?? {}, "rope_theta", numberOf(config, "rope_theta", fallback));
  const type = scaling["rope_type"] ?? scaling["type"] ?? "default";
  if (type === "default") return { ropeTheta };
  if (type === "linear") {
    const factor = numberOf(scaling, "factor");
    return { ropeTheta, ropeFactors: Array.from({ length: headDim / 2 }, () => factor) };
  }
  if (type !== "llama3")
    throw new CheckpointError(
      `position scaling ${JSON.stringify(type)} is not supported, only "linear" and "llama3" are`,
    );
  return { ropeTheta, ropeFactors: llama3Factors(scaling, headDim, ropeTheta) };
}

/** Llama 3.1's: waves that turn often within the original context stay, slow ones are stretched, those between in proportion. */
function llama3Factors(scaling: JsonRecord, headDim: number, theta: number): number[] {
  const factor = numberOf(scaling, "factor");
  const low = numberOf(scaling, "low_freq_factor");
  const high = numberOf(scaling, "high_freq_factor");
  const context = numberOf(scaling, "original_max_position_embeddings");
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const turns = context / (2 * Math.PI * Math.pow(theta, (2 * i) / headDim));
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
