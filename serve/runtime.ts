/**
 * The registry between user code and the process that runs it, at `globalThis[Symbol.for("skein.runtime.1")]`.
 * Bundles hold no copy of `skein`: their imports read `modules` here, so that user code and runtime share one SDK.
 * The process fills it in before it imports a bundle; without it (a plain script) everything is unset and the SDK still loads.
 */
import type { ContextStorage, ReplicaContext } from "./context.ts";

export const RUNTIME_KEY: unique symbol = Symbol.for("skein.runtime.1") as never;

/** Other modules of the SDK add their slots by declaration merging (llm/host.ts). */
export interface Runtime {
  /** What `import … from "skein"` and `"skein/llm"` in a bundle see, by module name. */
  readonly modules: Record<string, object>;
  /** Ambient context; null in tabs, which have no AsyncLocalStorage. */
  contexts: ContextStorage | null;
  /** Who this process is; null outside of a replica. */
  replica: ReplicaContext | null;
  /** Deployments of this application that load on this worker, by name. */
  readonly loading: Map<string, Loading>;
}

/** What a deployment that is not there yet does now. */
export interface Loading {
  /** As a person would say it. */
  readonly doing: string;
  /** s that it may still take, where that can be told. */
  readonly leftS: number | undefined;
}

const holder = globalThis as unknown as Record<symbol, Runtime | undefined>;

export function runtime(): Runtime {
  return (holder[RUNTIME_KEY] ??= { modules: {}, contexts: null, replica: null, loading: new Map() });
}
