/** Each family's turns, written with the constructs that its models' templates use, rendered to what the models were trained on. */
import { expect, test } from "vitest";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

const { tokenizerMetadata } = makeTinyGguf();
const SYSTEM = { role: "system", content: "Be brief." };
const TURNS = [
  { role: "user", content: " Hi " },
  { role: "assistant", content: "Hello!" },
  { role: "user", content: "Why?" },
];

const llama3 = String.raw`{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("This model only supports single tool-calls at once!") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}`;

const mistral = String.raw`{%- if messages[0]["role"] == "system" %}{%- set system = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}{{- raise_exception("Conversation roles must alternate") }}{%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system is defined %}{{- "[INST] " + system + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- else %}{{- " " + message["content"] | trim + eos_token }}{%- endif %}
{%- endfor %}`;

const qwen = String.raw`{%- if tools %}{{- raise_exception('none here') }}{%- endif %}
{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- if loop.index0 > ns.last_query_index %}{{- 'reasoning' }}{%- endif %}
        {{- '<|im_start|>' + message.role + '\n' + content.split('</think>')[-1].lstrip('\n') + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}`;

const gemma = String.raw`{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set prefix = (messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text']) + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception("Conversation roles must alternate") }}{%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}`;

const phi = String.raw`{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'user' %}{{'<|user|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>
' + message['content'] + '<|end|>
'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %}`;

const [BOS, EOS] = ["<|im_start|>", "<|im_end|>"];

test.each([
  [
    "llama",
    llama3,
    `${BOS}<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>` +
      `<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>` +
      `<|start_header_id|>assistant<|end_header_id|>\n\n`,
  ],
  ["mistral", mistral, `${BOS}[INST]  Hi [/INST] Hello!${EOS}[INST] Be brief.\n\nWhy?[/INST]`],
  [
    "qwen2 and qwen3",
    qwen,
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n" +
      "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
  ],
  [
    "gemma3",
    gemma,
    `${BOS}<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n` +
      "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n",
  ],
  [
    "phi3",
    phi,
    "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi <|end|>\n<|assistant|>\nHello!<|end|>\n<|user|>\nWhy?<|end|>\n<|assistant|>\n",
  ],
])("%s", (_, template, expected) => {
  const tokenizer = Tokenizer.fromGguf({ ...tokenizerMetadata, "tokenizer.chat_template": template });
  expect(tokenizer.renderChat([SYSTEM, ...TURNS])).toBe(expected);
});

test("a template reads what a request tells it, and the conversation is the engine's all the same", () => {
  const tokenizer = Tokenizer.fromGguf({ ...tokenizerMetadata, "tokenizer.chat_template": qwen });
  const prompt = (values: Record<string, unknown>): string => tokenizer.renderChat(TURNS, { values });
  expect(prompt({})).toMatch(/assistant\n$/);
  expect(prompt({ enable_thinking: true })).toMatch(/assistant\n$/);
  expect(prompt({ enable_thinking: false })).toMatch(/assistant\n<think>\n\n<\/think>\n\n$/);
  // It would refuse tools, and have nothing to say of no messages.
  expect(prompt({ tools: [{}], messages: [], add_generation_prompt: false })).toBe(prompt({}));
});

test("a template's own refusal comes out in its words", () => {
  const tokenizer = Tokenizer.fromGguf({ ...tokenizerMetadata, "tokenizer.chat_template": gemma });
  expect(() => tokenizer.renderChat([TURNS[0]!, TURNS[0]!])).toThrow("Conversation roles must alternate");
});
