/** The deployment of one ONNX model: JSON in, JSON out. What a request and an answer hold depends on its task. */
import * as z from "zod";
import { EngineDeadError, EngineFullError } from "../../engine/index.ts";
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import { ONNX_BODY_MAX, OPENAI_INPUTS_MAX } from "../../protocol/limits.ts";
import type { Context } from "../../serve/context.ts";
import { readText } from "../body.ts";
import { feedsOf, jsonOf } from "./json-tensors.ts";
import { OnnxModel, type OnnxOptions } from "./onnx-model.ts";

/** What a model is served as. */
export type ServedTask = "raw" | "embedding" | "classification";

export interface OnnxSettings extends OnnxOptions {
  readonly model: string;
  /** null: what its texts become, else raw. */
  readonly task: ServedTask | null;
}

const ids = z.array(z.number().int().min(0)).min(1);
const textsSchema = z.looseObject({
  inputs: z.union(
    [
      z.string().min(1),
      z
        .array(z.union([z.string().min(1), ids]))
        .min(1)
        .max(OPENAI_INPUTS_MAX),
    ],
    `expected a text, or up to ${OPENAI_INPUTS_MAX} texts`,
  ),
  /** As Text Embeddings Inference has it. */
  truncate: z.boolean().nullish(),
});
const rawSchema = z.looseObject({ inputs: z.record(z.string(), z.unknown(), "expected lists by the inputs' names") });

export class OnnxServer {
  readonly #settings: OnnxSettings;
  #model!: OnnxModel;
  #task!: ServedTask;

  constructor(settings: OnnxSettings) {
    this.#settings = settings;
  }

  /** Loads the model; the replica is ready when it is. Rejects where it doesn't do what it is to be served as. */
  async init(): Promise<void> {
    const { model: name, task, ...options } = this.#settings;
    this.#model = await OnnxModel.load(name, options);
    this.#task = task ?? this.#model.task ?? "raw";
    if (this.#task !== "raw" && this.#task !== this.#model.task)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `The model "${name}" can't be served for ${this.#task}: it is one for ${this.#model.task ?? "tensors (raw)"}.`,
      );
  }

  async fetch(request: Request, ctx: Context): Promise<Response> {
    try {
      if (request.method === "GET" || request.method === "HEAD") return Response.json(this.#facts());
      if (request.method !== "POST")
        return failed(405, `${request.method} is not answered: GET tells of the model, POST runs it.`);
      const text = await readText(request, ONNX_BODY_MAX);
      if (text === undefined) return failed(413, `The body has more than ${ONNX_BODY_MAX} bytes.`);
      return Response.json(await this.#answer(parse(text), ctx.signal));
    } catch (thrown) {
      return failure(thrown, ctx.requestId);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (this.#model as OnnxModel | undefined)?.[Symbol.asyncDispose]();
  }

  async #answer(body: unknown, signal: AbortSignal): Promise<unknown> {
    const model = this.#model;
    if (this.#task === "raw") {
      const { inputs } = read(rawSchema, body);
      return { outputs: jsonOf(await model.run(feedsOf(inputs, model.inputs), { signal })) };
    }
    const { inputs, truncate } = read(textsSchema, body);
    const texts = typeof inputs === "string" ? [inputs] : inputs;
    const options = { signal, truncate: truncate === true };
    if (this.#task === "classification") return model.classify(texts, options);
    return (await model.embed(texts, options)).map((vector) => [...vector]);
  }

  #facts() {
    const { name, provider, inputs, outputs, cpuNodes } = this.#model;
    return { model: name, task: this.#task, provider, inputs, outputs, cpu_nodes: cpuNodes };
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SkeinError("INVALID_ARGUMENT", "The body is not valid JSON.", { cause });
  }
}

function read<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new SkeinError("INVALID_ARGUMENT", `${issue.path.join(".") || "The body"}: ${issue.message}.`);
}

const failed = (status: number, error: string, headers: Record<string, string> = {}): Response =>
  Response.json({ error }, { status, headers });

/** Details of our own faults stay in the log. */
function failure(thrown: unknown, requestId: string): Response {
  if (thrown instanceof EngineFullError) return failed(429, thrown.message, { "retry-after": "1" });
  if (thrown instanceof EngineDeadError) return failed(503, thrown.message, { "retry-after": "2" });
  if (thrown instanceof SkeinError && OUTSIDE[thrown.code].http !== 500)
    return failed(OUTSIDE[thrown.code].http, thrown.message);
  console.error(`Request ${requestId} failed:`, thrown);
  return failed(500, `Internal Server Error (Request ID: ${requestId})`);
}
