/**
 * How a model is told of tools and how it calls them: read off its own chat template. Where the template knows nothing of tools, they are
 * described in the system message, in the style that the model family documents. Pure.
 */
import type { ChatMessage } from "../../engine/index.ts";

/** Hermes and Qwen: `<tool_call>{"name":…,"arguments":…}</tool_call>`. Llama 3: the bare object, with `parameters`. Gemma: `[name(key="value")]`. */
export type ToolStyle = "hermes" | "llama" | "gemma";

/** A function that the model may call, as OpenAI describes it. */
export interface Tool {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters?: object;
    /** Arguments must fit `parameters`, also where a call is the model's own idea. */
    readonly strict?: boolean;
  };
}

export interface ToolFormat {
  readonly style: ToolStyle;
  /** The template itself writes tools and calls out. */
  readonly isNative: boolean;
}

export function toolFormatOf(template: string): ToolFormat {
  return { style: styleOf(template), isNative: /\btools\b/.test(template) };
}

function styleOf(template: string): ToolStyle {
  if (template.includes("<tool_call>")) return "hermes";
  if (template.includes("<|python_tag|>") || template.includes("<|start_header_id|>")) return "llama";
  return template.includes("<start_of_turn>") ? "gemma" : "hermes";
}

/** Which call is wanted: any or none as the model likes, at least one, or one of a certain function. */
export type ToolChoice = "auto" | "required" | { readonly name: string };

const INSTRUCTIONS: Readonly<Record<ToolStyle, string>> = {
  hermes:
    "You may call functions to answer the user. For each call write a JSON object with the function's name and arguments within " +
    '<tool_call></tool_call> tags: <tool_call>{"name": <function-name>, "arguments": <arguments-object>}</tool_call>',
  llama:
    'To call a function, answer with JSON alone, in the form {"name": <function-name>, "parameters": <arguments-object>}. Do not use variables.',
  gemma:
    "If you decide to call functions, put them in the form [func_name1(params_name1=params_value1, params_name2=params_value2), func_name2(params)] " +
    "and write nothing else.",
};

/** The conversation for a template that knows nothing of tools: descriptions, calls and results are text in it. */
export function withToolsAsText(
  messages: readonly ChatMessage[],
  tools: readonly Tool[],
  style: ToolStyle,
): readonly ChatMessage[] {
  const plain = messages.map((message): ChatMessage => {
    if (message.role === "tool")
      return { role: "user", content: `<tool_response>\n${message.content}\n</tool_response>` };
    const { role, content, tool_calls: calls } = message;
    if (calls === undefined) return { role, content };
    return {
      role,
      content: [content, ...calls.map((call) => callText(call, style))].filter((part) => part !== "").join("\n"),
    };
  });
  if (tools.length === 0) return plain;
  const told = `${INSTRUCTIONS[style]}\n\nThe functions:\n${tools.map((tool) => JSON.stringify(tool.function)).join("\n")}`;
  const [first, ...rest] = plain;
  return first?.role === "system"
    ? [{ role: "system", content: `${first.content}\n\n${told}` }, ...rest]
    : [{ role: "system", content: told }, ...plain];
}

function callText(call: object, style: ToolStyle): string {
  const { name, arguments: values } = (call as { function: { name: string; arguments: object } }).function;
  switch (style) {
    case "hermes":
      return `<tool_call>\n${JSON.stringify({ name, arguments: values })}\n</tool_call>`;
    case "llama":
      return JSON.stringify({ name, parameters: values });
    case "gemma":
      return `[${name}(${Object.entries(values)
        .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        .join(", ")})]`;
  }
}
