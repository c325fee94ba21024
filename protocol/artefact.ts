/**
 * An artefact: what the builder makes of an application, addressed by the SHA-256 of its manifest (canonical JSON).
 * Bundles and assets are blobs of their own, named by SHA-256.
 */
import * as z from "zod";
import { DEPLOYMENTS_MAX, GRPC_DESCRIPTORS_MAX, GRPC_SERVICES_MAX, NAME_MAX } from "./limits.ts";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** One deployment as the bound graph has it. `options` are what the code says, in snake_case (config.ts). */
export const graphDeploymentSchema = z.strictObject({
  name: z.string().min(1).max(NAME_MAX),
  options: z.record(z.string(), z.unknown()),
  /** Names of deployments that its constructor arguments hold handles of. */
  callees: z.array(z.string()).max(DEPLOYMENTS_MAX),
  /** Has reconfigure(), checkHealth(); uses the engine (imports skein/llm and loads a model). */
  reconfigurable: z.boolean(),
  usesEngine: z.boolean(),
});

export const manifestSchema = z.strictObject({
  schema: z.literal(1),
  importPath: z.string(),
  args: z.record(z.string(), z.unknown()),
  /** Export of the bundle that is the application or its builder. */
  export: z.string(),
  bundles: z.strictObject({
    node: sha256,
    /** Null where the code needs node: modules; the reason says which and where. */
    browser: sha256.nullable(),
    browserReason: z.string().optional(),
  }),
  /**
   * gRPC services that the application serves. Here and not a blob of its own, because routing tables (made by a pure function) and replicas
   * both have the manifest in hand; the descriptors are a base64 FileDescriptorSet, imports included, with fully qualified type names.
   */
  grpc: z
    .strictObject({
      services: z
        .array(
          z
            .string()
            .min(1)
            .max(NAME_MAX * 4),
        )
        .max(GRPC_SERVICES_MAX),
      descriptors: z.string().max(GRPC_DESCRIPTORS_MAX),
    })
    .optional(),
  /** Files beside the code that it needs (such as .proto), by name relative to the application's folder. */
  assets: z.record(z.string(), sha256),
  graph: z.strictObject({
    /** SHA-256 of the canonical JSON of deployments and ingress: the same on every evaluation, or NONDETERMINISTIC_GRAPH. */
    hash: sha256,
    ingress: z.string(),
    deployments: z.array(graphDeploymentSchema).min(1).max(DEPLOYMENTS_MAX),
  }),
});
export type Manifest = z.output<typeof manifestSchema>;
export type GraphDeployment = z.output<typeof graphDeploymentSchema>;

/** JSON with sorted keys and no white space: equal values have equal bytes. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((v) => canonicalJson(v === undefined ? null : v)).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`).join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** Lower-case hex SHA-256 (WebCrypto, so that tabs have it too). */
export async function sha256Hex(bytes: Uint8Array | string): Promise<string> {
  const data = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>));
  return [...digest].map((b) => b.toString(16).padStart(2, "0")).join("");
}
