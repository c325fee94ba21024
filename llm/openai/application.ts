/** The ready-made application: one model that is its own ingress, or a router and a deployment for each, from what `args` in YAML or on the command line say. */
import * as z from "zod";
import { SkeinError } from "../../protocol/errors.ts";
import { OPENAI_MODELS_MAX, OPENAI_QUEUED_MAX, OPENAI_REQUESTS_MAX } from "../../protocol/limits.ts";
import { deployment, type Application } from "../../serve/deployment.ts";
import { SLOT_LENGTH_DEFAULT } from "../language-model.ts";
import type { DeploymentOptions } from "../../serve/options.ts";
import { ModelServer, type ModelSettings } from "./model-server.ts";
import { OpenAI, OpenAIModel } from "./router.ts";

/** Requests that the router passes on at a time: it only carries them, and the models' replicas count. */
const ROUTED_REQUESTS_MAX = 10_000;

/** Answers may begin anew while nothing was said; clients read OpenAI's errors, and come again later where they are told to. */
const SERVED: DeploymentOptions = {
  retry: "no-output",
  errorFormat: "openai",
  maxQueuedRequests: OPENAI_QUEUED_MAX,
  backpressureConfig: { statusCode: 429, retryAfterS: 1 },
};

const modelSchema = z.union([
  z.string().min(1),
  z.strictObject({
    /** How clients name it; default: the source. */
    id: z.string().min(1).max(96).optional(),
    source: z.string().min(1),
    device: z.enum(["auto", "webgpu", "native", "wasm"]).optional(),
    slots: z.number().int().min(1).optional(),
    slot_length: z.number().int().min(2).optional(),
    num_replicas: z.number().int().min(1).optional(),
    num_cpus: z.number().min(0).optional(),
    num_gpus: z.union([z.number().min(0), z.literal("auto")]).optional(),
  }),
]);
const argsSchema = z.strictObject({
  models: z.union([z.string().min(1), z.array(modelSchema).min(1).max(OPENAI_MODELS_MAX)]),
  router: z.union([z.boolean(), z.stringbool()]).optional(),
});
type ModelArgs = z.input<typeof modelSchema>;

/** What the builder `skein/llm:openai` takes: `args` of a configuration, or `models=…` on the command line. */
export interface OpenAIArgs {
  /** Names with commas between, or a list of names and settings. */
  readonly models: string | readonly ModelArgs[];
  /** A router in front of one model as well: while the model loads it answers 503 with a time, where requests would wait otherwise. */
  readonly router?: boolean;
}

/** Throws `INVALID_ARGUMENT` that says what the arguments should be. */
export function openaiApplication(args: OpenAIArgs): Application {
  const read = argsSchema.safeParse(args);
  if (!read.success) throw new SkeinError("INVALID_ARGUMENT", explain(read.error));
  const { models } = read.data;
  const listed = typeof models === "string" ? namesIn(models) : models;
  const served = listed.map((given) => modelOf(typeof given === "string" ? { source: given } : given));
  const twice = served.find(({ id }, at) => served.findIndex((other) => other.id === id) !== at);
  if (twice !== undefined)
    throw new SkeinError("INVALID_ARGUMENT", `The model '${twice.id}' is listed twice: give one of them another id.`);
  const [only, ...others] = served;
  if (only !== undefined && others.length === 0 && read.data.router !== true)
    return deployment(OpenAIModel, only.options).bind(only.settings);
  return deployment(OpenAI, {
    name: "OpenAI",
    maxOngoingRequests: ROUTED_REQUESTS_MAX,
    ...SERVED,
    // It only carries: two models fit on two cores.
    rayActorOptions: { numCpus: 0 },
  }).bind(
    served.map(({ id, options, settings }) => ({
      id,
      handle: deployment(ModelServer, options).bind(settings),
    })) as never,
  );
}

function modelOf(given: Exclude<z.output<typeof modelSchema>, string>) {
  const { source } = given;
  const id = given.id ?? (/[/\\]/.test(source) && /^[./\\]|^\w:|^https?:/i.test(source) ? fileName(source) : source);
  if (id === "") throw new SkeinError("INVALID_ARGUMENT", "A model's name must not be empty.");
  const options: DeploymentOptions = {
    name: id.replace(/[#/\s]+/g, "-"),
    maxOngoingRequests: OPENAI_REQUESTS_MAX,
    ...SERVED,
    rayActorOptions: { numCpus: given.num_cpus ?? 1, numGpus: given.num_gpus ?? "auto" },
    ...(given.num_replicas === undefined ? {} : { numReplicas: given.num_replicas }),
  };
  const settings: ModelSettings = {
    id,
    source,
    device: given.device ?? "auto",
    slotLength: given.slot_length ?? SLOT_LENGTH_DEFAULT,
    slots: given.slots ?? null,
  };
  return { id, options, settings };
}

/** Of `a,b`. Throws `INVALID_ARGUMENT` for a piece of a URL, which a comma in it would leave. */
function namesIn(models: string): string[] {
  const names = models.split(",").map((name) => name.trim());
  const cut = names.find((name) => /^https?:/i.test(name) && !/\.(gguf|onnx)(#|\?|$)/i.test(name));
  if (cut === undefined) return names;
  throw new SkeinError(
    "INVALID_ARGUMENT",
    `"${cut.slice(0, 200)}" is no URL of a .gguf or .onnx file. Commas separate models: write one inside a URL as %2C.`,
  );
}

/** `/models/tiny.gguf` is `tiny`, and so is `https://host/tiny.gguf#sha256=…`. */
const fileName = (path: string): string => path.replace(/^.*[/\\]/, "").replace(/\.[^.]*$/, "");

function explain(error: z.ZodError): string {
  const issue = error.issues[0]!;
  const path = ["args", ...issue.path].join(".");
  return `${path}: ${issue.message}. Expected models=<name>[,<name>…], or in YAML \`args: {models: [<name>, {source: <name, URL or path>, id: <id>, slots: 4, num_gpus: auto}]}\`.`;
}
