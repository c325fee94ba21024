/**
 * The engine behind `LanguageModel` in a replica: which provider, where the model is, one engine thread per model.
 * Platform-neutral: how a thread is started and a model is opened are arguments. Replicas never download or convert.
 */
import {
  EngineClient,
  type EngineThread,
  type LoadedGraph,
  type LoadSpec,
  type ProviderName,
} from "../../engine/index.ts";
import type { EngineGraph, EngineHost, EngineModel, ModelRequest } from "../../llm/host.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { EngineReport } from "../../protocol/engine-stats.ts";
import { ENGINES_MAX } from "../../protocol/limits.ts";
import type { ReplicaOptions, LocatedModel } from "../../protocol/local.ts";

/** Chats at a time at most, when nobody says: fewer where memory is short. A slot of 2,048 tokens of a 135M model is 94 MB. */
const SLOTS_MOST = 8;
/** Calls of a graph at a time when nobody says: they are put together into runs. */
const GRAPH_CALLS_DEFAULT = 64;
/** Nodes that a line of the log names. */
const CPU_NODES_NAMED = 50;

export interface EngineHostParts {
  readonly options: Pick<ReplicaOptions, "spec" | "device" | "allowSoftwareGpu">;
  /** Providers that this platform can run, best first; `webgpu` is asked for only when the replica may use a GPU. */
  available(gpu: boolean): Promise<readonly ProviderName[]>;
  /** Asks the agent; resolves when the model is on this machine in the provider's form. */
  locate(name: string, provider: ProviderName, slotLength: number): Promise<LocatedModel>;
  open(model: LocatedModel, provider: ProviderName, slotLength: number): Promise<LoadSpec["prepared"][ProviderName]>;
  spawn(): EngineThread;
  /** Bytes that this machine has free now; absent where that can't be known. */
  freeMemory?(): number;
  after(ms: number, callback: () => void): () => void;
  onProgress(text: string): void;
  onLoaded(slots: number): void;
  /** The engine's thread died or hung: nothing of it will be answered. */
  onDead(reason: string): void;
  log(level: "info" | "warn", text: string): void;
}

export class ReplicaEngineHost implements EngineHost {
  readonly #parts: EngineHostParts;
  /** Engines with the names of their models. */
  readonly #clients = new Map<EngineClient, string>();
  #reports: readonly EngineReport[] = [];
  #asking = false;

  constructor(parts: EngineHostParts) {
    this.#parts = parts;
  }

  async load(request: ModelRequest): Promise<EngineModel | EngineGraph> {
    const { options, log } = this.#parts;
    const failures: { readonly provider: string; readonly why: string }[] = [];
    for (const provider of await this.#candidates(request)) {
      try {
        const model = await this.#loadWith(provider, request);
        for (const { provider: failed, why } of failures) log("warn", `${failed}: ${why}`);
        return model;
      } catch (error) {
        failures.push({ provider, why: error instanceof Error ? error.message : String(error) });
      }
    }
    throw new SkeinError(
      "UNAVAILABLE",
      `The model "${request.name}" could not be loaded on ${options.spec.replica.split("#").slice(0, 2).join("#")}: ${explained(failures) || `no provider of this worker may be used for device "${request.device}".`}`,
    );
  }

  /** Ends every engine thread in good order. */
  async close(): Promise<void> {
    await Promise.all([...this.#clients.keys()].map((client) => client.close()));
  }

  /** What the engines last told of themselves; asks them anew, unless a model step still holds up the answers. */
  get reports(): readonly EngineReport[] {
    if (!this.#asking && this.#clients.size > 0) {
      this.#asking = true;
      void this.#ask().finally(() => (this.#asking = false));
    }
    return this.#reports;
  }

  async #ask(): Promise<void> {
    const engines = [...this.#clients].slice(0, ENGINES_MAX);
    const asked = engines.map(async ([client, model]) => {
      // An engine that is gone or has no model yet says nothing.
      const stats = await client.stats().catch(() => undefined);
      return stats === undefined ? [] : [{ model: model.slice(0, 200), ...stats }];
    });
    this.#reports = (await Promise.all(asked)).flat();
  }

  /** What the replica was given, else what the machine has; where neither is known, only `wasm` has an end. */
  #memory(): number {
    const { options, freeMemory } = this.#parts;
    return options.spec.memory > 0 ? options.spec.memory : (freeMemory?.() ?? Infinity);
  }

  async #candidates(request: ModelRequest): Promise<readonly ProviderName[]> {
    const { options, available } = this.#parts;
    const device = request.device === "auto" ? options.device : request.device;
    if (device !== "auto") return [device];
    const gpu = options.spec.gpus > 0;
    return (await available(gpu)).filter((provider) => gpu || provider !== "webgpu");
  }

  async #loadWith(provider: ProviderName, request: ModelRequest): Promise<EngineModel | EngineGraph> {
    const { options, locate, open, spawn, after, onProgress, onLoaded, onDead, log } = this.#parts;
    onProgress(`waiting for model ${request.name}`);
    const located = await locate(request.name, provider, request.slotLength);
    const reference = await open(located, provider, request.slotLength);
    const client = await EngineClient.start({ spawn, after, onDead });
    this.#clients.set(client, request.name);
    const close = async (): Promise<void> => {
      this.#clients.delete(client);
      await client.close();
    };
    try {
      const loaded = await client.open(
        {
          prepared: { [provider]: reference },
          provider,
          threads: Math.max(1, Math.floor(options.spec.cpus)),
          slots: request.slots ?? SLOTS_MOST,
          slotLength: request.slotLength,
          ...(request.slots === undefined ? { memory: this.#memory() } : {}),
          allowSoftwareGpu: options.allowSoftwareGpu,
          ...(request.warmUp === undefined ? {} : { warmUp: request.warmUp }),
        },
        (progress) => onProgress(`loading model ${request.name}: ${progress.stage}`),
      );
      for (const note of loaded.notes) log("info", note);
      onLoaded("kind" in loaded ? GRAPH_CALLS_DEFAULT : loaded.slots);
      if ("kind" in loaded) {
        if (loaded.cpuNodes.length > 0) log("warn", onCpu(request.name, loaded.cpuNodes));
        return graphOf(loaded, client, close);
      }
      return {
        provider: loaded.provider,
        slots: loaded.slots,
        slotLength: loaded.slotLength,
        chatTemplate: loaded.chatTemplate,
        weights: weightsOf(located),
        tokenize: (input) => client.tokenize(input),
        detokenize: (tokens) => client.detokenize(tokens),
        generate: (generation) => client.generate(generation),
        stats: async () => {
          const stats = await client.stats();
          return stats === undefined || "kind" in stats ? undefined : stats;
        },
        close,
      };
    } catch (error) {
      await close();
      throw error;
    }
  }
}

/** Names the nodes, or the first of many. */
function onCpu(name: string, nodes: readonly string[]): string {
  const more = nodes.length - CPU_NODES_NAMED;
  const named = nodes.slice(0, CPU_NODES_NAMED).join(", ");
  return `${name}: nodes that the GPU has no kernel for run on the CPU: ${named}${more > 0 ? `, and ${more} more` : ""}`;
}

function graphOf(loaded: LoadedGraph, client: EngineClient, close: () => Promise<void>): EngineGraph {
  const { kind, provider, cpuNodes, inputs, outputs, text } = loaded;
  return {
    kind,
    provider,
    cpuNodes,
    inputs,
    outputs,
    text,
    embed: (texts, options) => client.embed(texts, options),
    run: (feeds, signal) => client.run(feeds, signal),
    stats: async () => {
      const stats = await client.stats();
      return stats !== undefined && "kind" in stats ? stats : undefined;
    },
    tokenize: (input) => client.tokenize(input),
    detokenize: (tokens) => client.detokenize(tokens),
    close,
  };
}

/** A prepared model lies in a folder that is named by its content. */
const weightsOf = (located: LocatedModel): string | undefined =>
  located.kind === "prepared" ? /[/\\]([0-9a-f]{64})-[^/\\]*$/.exec(located.directory)?.[1] : undefined;

/** One reason is said once: a full disk or a model that can't be fetched stops all providers alike. */
function explained(failures: readonly { readonly provider: string; readonly why: string }[]): string {
  const byReason = Map.groupBy(failures, ({ why }) => why);
  if (byReason.size === 1) return failures[0]!.why;
  return [...byReason].map(([why, who]) => `${who.map(({ provider }) => provider).join(", ")}: ${why}`).join("; ");
}
