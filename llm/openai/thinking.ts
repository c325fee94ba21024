/**
 * Models that think before they answer: whether this one does, by its chat template, and what a request says of it. The values go to the
 * template, as vLLM has it. Pure.
 */
import * as z from "zod";
import type { Ask } from "./choices.ts";
import { unsupported } from "./errors.ts";
import { read } from "./fields.ts";

const effort = z.enum(["none", "minimal", "low", "medium", "high", "xhigh"]).nullish();
const thinkingSchema = z.looseObject({
  /** Of messages. */
  thinking: z.looseObject({ type: z.enum(["enabled", "disabled", "adaptive"]) }).nullish(),
  /** vLLM's: what the template may read beside the conversation. */
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
  reasoning_effort: effort,
  /** Of responses. */
  reasoning: z
    .looseObject({ effort, summary: z.enum(["auto"], "this server writes no summaries: leave it out").nullish() })
    .nullish(),
});

/** What a request asks a template to read; undefined where that changes nothing. Throws a 400 where the model can't be kept from thinking. */
export function templateValues(body: unknown, template: string): Readonly<Record<string, unknown>> | undefined {
  const fields = read(thinkingSchema, body);
  const isDisabled = fields.thinking?.type === "disabled";
  const asked = isDisabled ? "none" : (fields.reasoning?.effort ?? fields.reasoning_effort);
  const reads = (name: string): boolean => new RegExp(`\\b${RegExp.escape(name)}\\b`).test(template);
  if (asked === "none" && opensThought(template) && !reads("enable_thinking"))
    throw unsupported(
      isDisabled ? "thinking" : fields.reasoning?.effort == null ? "reasoning_effort" : "reasoning.effort",
      "this model always thinks.",
    );
  const values = {
    ...(asked == null ? {} : { reasoning_effort: asked }),
    ...(asked === "none" ? { enable_thinking: false } : {}),
    ...fields.chat_template_kwargs,
  };
  const wanted = Object.entries(values).filter(([name]) => reads(name));
  return wanted.length === 0 ? undefined : Object.fromEntries(wanted);
}

/** The same asks with what the body says of thinking; answers of a model that may think are searched for thoughts. */
export function withThinking(asks: readonly Ask[], body: unknown, template: string): readonly Ask[] {
  const values = templateValues(body, template);
  const thinks = template.includes("<think>");
  return asks.map((ask) => ({
    ...ask,
    ...(values !== undefined && "messages" in ask.input ? { input: { ...ask.input, values } } : {}),
    ...(thinks ? { thinks } : {}),
  }));
}

/** Its generation prompt begins a thought and leaves the end to the model. */
function opensThought(template: string): boolean {
  const prompt = template.slice(Math.max(0, template.lastIndexOf("add_generation_prompt")));
  return prompt.includes("<think>") && !prompt.includes("</think>");
}
