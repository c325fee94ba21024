/** Rotary position embedding's base and stretching, as the Transformers library writes them in config.json. */
import { partOfHead } from "../architectures.ts";
import { CheckpointError } from "../gguf/error.ts";
import { longRopeScale, YARN_TURNS, yarnFactors, yarnScale } from "../rope-scaling.ts";
import type { ArchitectureName, ModelConfig } from "../types.ts";
import { countOf, isRecord, type JsonRecord, numberOf } from "./json.ts";

/** `contextLength` is the longer one that stretching makes. */
type Stretched = Pick<ModelConfig, "ropeFactors" | "ropeScale" | "longRope"> & { readonly contextLength?: number };

/** Base and factors of layers that see everything. Throws CheckpointError for stretchings that aren't supported, by name. */
export function ropeOf(
  config: JsonRecord,
  architecture: ArchitectureName,
  headDim: number,
  fallback: number,
): Pick<ModelConfig, "ropeTheta" | "ropeDim"> & Stretched {
  // Version 5 has one object for both, Gemma's one for each kind of layer.
  const parameters = isRecord(config["rope_parameters"]) ? config["rope_parameters"] : undefined;
  const own = parameters && isRecord(parameters["full_attention"]) ? parameters["full_attention"] : parameters;
  const scaling = own ?? (isRecord(config["rope_scaling"]) ? config["rope_scaling"] : {});
  const ropeTheta = numberOf(own ?? {}, "rope_theta", numberOf(config, "rope_theta", fallback));
  const share = numberOf(own ?? {}, "partial_rotary_factor", numberOf(config, "partial_rotary_factor", 1));
  const ropeDim = Math.floor(headDim * share);
  const rotation = { ropeTheta, ...partOfHead(architecture, ropeDim, headDim) };
  const type = scaling["rope_type"] ?? scaling["type"] ?? "default";
  switch (type) {
    case "default":
      return rotation;
    case "linear": {
      const factor = numberOf(scaling, "factor");
      return { ...rotation, ropeFactors: Array.from({ length: ropeDim / 2 }, () => factor) };
    }
    case "llama3":
      return { ...rotation, ropeFactors: llama3Factors(scaling, ropeDim, ropeTheta) };
    case "yarn":
      return { ...rotation, ...yarnOf(config, scaling, ropeDim, ropeTheta) };
    // "su" is what it was called first.
    case "longrope":
    case "su":
      return { ...rotation, ...longRopeOf(config, scaling, ropeDim) };
    default:
      throw new CheckpointError(
        `position scaling ${JSON.stringify(type)} is not supported, only "linear", "llama3", "yarn" and "longrope" are`,
      );
  }
}

function yarnOf(config: JsonRecord, scaling: JsonRecord, ropeDim: number, theta: number): Stretched {
  for (const key of ["mscale", "mscale_all_dim", "truncate"])
    if (scaling[key] !== undefined) throw new CheckpointError(`position scaling "yarn" with ${key} is not supported`);
  const trained = numberOf(config, "max_position_embeddings");
  const factor = numberOf(scaling, "factor");
  const original = numberOf(scaling, "original_max_position_embeddings", trained);
  return {
    ropeFactors: yarnFactors({
      ...{ ropeDim, theta, factor, original },
      fast: numberOf(scaling, "beta_fast", YARN_TURNS.fast),
      slow: numberOf(scaling, "beta_slow", YARN_TURNS.slow),
    }),
    ropeScale: numberOf(scaling, "attention_factor", yarnScale(factor)),
    contextLength: Math.max(trained, Math.floor(original * factor)),
  };
}

function longRopeOf(config: JsonRecord, scaling: JsonRecord, ropeDim: number): Stretched {
  for (const key of ["short_mscale", "long_mscale"])
    if (scaling[key] !== undefined)
      throw new CheckpointError(`position scaling "longrope" with ${key} is not supported`);
  const key = "original_max_position_embeddings";
  const original = countOf(config[key] !== undefined ? config : scaling, key);
  const context = numberOf(config, "max_position_embeddings");
  const factorsOf = (name: string): number[] => {
    const factors: unknown = scaling[name];
    if (!Array.isArray(factors) || factors.length !== ropeDim / 2 || !factors.every((one) => one > 0 && one < Infinity))
      throw new CheckpointError(`config.json: ${name} must be a list of ${ropeDim / 2} positive numbers`);
    return factors as number[];
  };
  return {
    longRope: { original, short: factorsOf("short_factor"), long: factorsOf("long_factor") },
    ropeScale: numberOf(scaling, "attention_factor", longRopeScale(context, original)),
  };
}

/** Llama 3.1's: waves that turn often within the original context stay, slow ones are stretched, those between in proportion. */
function llama3Factors(scaling: JsonRecord, ropeDim: number, theta: number): number[] {
  const factor = numberOf(scaling, "factor");
  const low = numberOf(scaling, "low_freq_factor");
  const high = numberOf(scaling, "high_freq_factor");
  const context = numberOf(scaling, "original_max_position_embeddings");
  return Array.from({ length: ropeDim / 2 }, (_, i) => {
    const turns = context / (2 * Math.PI * Math.pow(theta, (2 * i) / ropeDim));
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
