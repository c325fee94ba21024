/** `skein chat`: sends what a person types to an application as a JSON string (the textbook's protocol) and streams the answer. */
import { createInterface } from "node:readline/promises";
import { EXIT } from "../../protocol/errors.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { CommandFailed, Interrupted } from "../failure.ts";
import type { Answer } from "../fetch.ts";
import { urlOf } from "../follow.ts";
import type { Shell } from "../shell.ts";

export interface ChatFlags extends AddressOptions {
  readonly name?: string;
  /** Sent to this URL; no mesh is asked. */
  readonly url?: string;
}

/** A piped prompt longer than this is cut off by no one: it is refused, characters. */
const PROMPT_MAX = 1_000_000;

export async function chat(prompt: readonly string[], flags: ChatFlags, shell: Shell): Promise<number> {
  const url = flags.url ?? (await urlOfApplication(flags, shell));
  if (prompt.length > 0) await answer(url, prompt.join(" "), shell);
  else if (shell.stdin.isTTY !== true) await answer(url, await allOf(shell.stdin), shell);
  else await converse(url, shell);
  return EXIT.ok;
}

async function urlOfApplication(flags: ChatFlags, shell: Shell): Promise<string> {
  const client = await connect(flags, shell);
  const status = await client.status();
  const names = Object.keys(status.applications);
  const name = flags.name ?? (names.length === 1 ? names[0] : undefined);
  if (name === undefined)
    throw new CommandFailed(
      names.length === 0 ? EXIT.notFound : EXIT.usage,
      names.length === 0
        ? `No application runs at ${client.address}. Start one: \`skein run llm:chat\`, or \`npm start\` in the clone.`
        : `Which application? Give --name, one of: ${names.join(", ")}.`,
    );
  const app = status.applications[name];
  if (app === undefined) throw new CommandFailed(EXIT.notFound, `Application "${name}" does not exist.`);
  const url = urlOf(status, name);
  if (url === undefined)
    throw new CommandFailed(EXIT.notFound, `Application "${name}" has no HTTP entry (status ${app.status}).`);
  return url.replace("//localhost:", "//127.0.0.1:");
}

async function answer(url: string, prompt: string, shell: Shell): Promise<void> {
  const key = (shell.env["SKEIN_API_KEY"] ?? "").trim();
  let response: Answer;
  try {
    response = await shell.fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...(key === "" ? {} : { authorization: `Bearer ${key}` }) },
      body: JSON.stringify(prompt),
      signal: shell.stop,
    });
    if (response.status === 401)
      throw new CommandFailed(
        EXIT.notAllowed,
        key === ""
          ? `${url} needs an API key: set SKEIN_API_KEY. \`skein api-key create --app <name>\` makes one.`
          : `${url} does not accept the API key in SKEIN_API_KEY.`,
      );
    if (!response.ok)
      throw new CommandFailed(
        EXIT.failed,
        `${url} answered ${response.status}: ${(await response.text()).trim().slice(0, 2_000)}`,
      );
    const decoder = new TextDecoder();
    let last = "";
    for await (const bytes of response.body ?? []) {
      const text = decoder.decode(bytes, { stream: true });
      if (text !== "") shell.out((last = text));
    }
    if (!last.endsWith("\n")) shell.out("\n");
  } catch (error) {
    if (shell.stop.aborted) throw new Interrupted();
    if (error instanceof CommandFailed) throw error;
    throw new CommandFailed(
      EXIT.unreachable,
      `The answer from ${url} did not arrive or broke off: ${error instanceof Error ? error.message : String(error)}. See \`skein status\`.`,
      { cause: error },
    );
  }
}

/** Each line is a question of its own: the textbook's application keeps no history. */
async function converse(url: string, shell: Shell): Promise<void> {
  shell.note(`Chatting with ${url}. An empty line or Ctrl-D ends.`);
  const lines = createInterface({ input: shell.stdin, output: process.stdout, prompt: "> " });
  shell.stop.addEventListener("abort", () => lines.close(), { once: true });
  lines.on("SIGINT", () => lines.close());
  lines.prompt();
  for await (const line of lines) {
    if (line.trim() === "") break;
    await answer(url, line, shell);
    lines.prompt();
  }
  lines.close();
}

async function allOf(stream: NodeJS.ReadStream): Promise<string> {
  let text = "";
  for await (const piece of stream) {
    text += String(piece);
    if (text.length > PROMPT_MAX)
      throw new CommandFailed(EXIT.usage, `The prompt is longer than ${PROMPT_MAX} characters.`);
  }
  if (text.trim() === "")
    throw new CommandFailed(EXIT.usage, "No prompt: give one, pipe one, or run `skein chat` in a terminal.");
  return text.trim();
}
