/**
 * The engine's side of its thread: one model, many generations, over a port. Platform-neutral: how a model is loaded and how the
 * thread takes turns with its port are arguments.
 */
import type { GrammarFormat } from "./grammar/format.ts";
import { type GrammarHost, Grammars } from "./grammar/grammars.ts";
import type { LogitsMask } from "./grammar/mask.ts";
import type { GraphDescription } from "./graph-model.ts";
import { GraphServer } from "./graph-server.ts";
import { PROMPT_CHARACTERS_MAX } from "./limits.ts";
import { EngineLoop } from "./loop.ts";
import { GrammarError } from "./refusals.ts";
import {
  type ChosenScore,
  type FromEngine,
  type LoadProgress,
  type LoadSpec,
  type OutputItem,
  type ProbeResult,
  type PromptInput,
  type ToEngine,
  type TokenScore,
  errorValue,
} from "./thread-messages.ts";
import type { GraphSession } from "./providers/graph-session.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import type { ChosenLogprob, Runner, TokenLogprob } from "./types.ts";

export interface EnginePort {
  post(message: FromEngine): void;
  onMessage(handler: (message: ToEngine) => void): void;
}

export interface Loaded {
  readonly runner: Runner;
  readonly tokenizer: Tokenizer;
  readonly notes: readonly string[];
}

/** A graph that isn't one of our decoders. */
export interface LoadedSession {
  readonly session: GraphSession;
  readonly graph: GraphDescription;
  readonly notes: readonly string[];
}

export interface EnginePlatform {
  load(spec: LoadSpec, onProgress: (progress: LoadProgress) => void): Promise<Loaded | LoadedSession>;
  probe(options: { allowSoftwareGpu: boolean }): Promise<ProbeResult>;
  /** Resolves after messages that wait at the port were delivered. */
  yieldTurn(): Promise<void>;
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** What grammars need; absent: answers can't be held to one here. */
  readonly grammar?: GrammarHost;
  /** Ends the thread, after "closed" was posted. */
  end(): void;
}

/** Serves the port until "close". Says "ready" first. */
export function serveEngine(port: EnginePort, platform: EnginePlatform): void {
  let model:
    | { readonly loaded: Loaded; readonly loop: EngineLoop; readonly grammars: Grammars | undefined }
    | undefined;
  /** Requests whose grammar is being compiled. */
  const starting = new Set<number>();
  let graph: GraphServer | undefined;
  let isLoading = false;
  let outputs: OutputItem[] = [];

  const postStep = (): void => {
    port.post({ type: "step", items: outputs });
    outputs = [];
  };

  async function load(spec: LoadSpec): Promise<void> {
    if (model ?? graph ?? isLoading) throw new Error("this engine has a model already: one thread runs one model");
    isLoading = true;
    try {
      const loaded = await platform.load(spec, (progress) => port.post({ type: "loading", progress }));
      if ("session" in loaded) {
        // Says that the thread lives, as a step does.
        graph = new GraphServer({
          ...loaded,
          yieldTurn: () => platform.yieldTurn(),
          now: () => platform.now(),
          onRun: postStep,
        });
        void loaded.session.lost?.then((reason) => port.post({ type: "broken", reason }));
        port.post({ type: "loaded", model: graph.facts });
        return;
      }
      const { runner, tokenizer, notes } = loaded;
      const loop = new EngineLoop({
        runner,
        text: tokenizer,
        yieldTurn: () => platform.yieldTurn(),
        now: () => platform.now(),
        onStep: postStep,
        onBroken: (error) => port.post({ type: "broken", reason: error.message }),
      });
      const grammars = platform.grammar && new Grammars(platform.grammar, tokenizer, runner.config.vocabulary);
      model = { loaded, loop, grammars };
      const { provider, config, slots, slotLength } = runner;
      const { chatTemplate } = tokenizer;
      port.post({ type: "loaded", model: { provider, config, slots, slotLength, chatTemplate, notes } });
    } finally {
      isLoading = false;
    }
  }

  const loadedModel = (): NonNullable<typeof model> => {
    if (model !== undefined) return model;
    throw new Error(
      graph === undefined
        ? "no model is loaded yet: await load() first"
        : "this model answers no chats and completes no texts",
    );
  };
  const loadedGraph = (): GraphServer => {
    if (graph !== undefined) return graph;
    throw new Error(
      model === undefined ? "no model is loaded yet: await open() first" : "this model answers chats only",
    );
  };

  type Generate = Extract<ToEngine, { type: "generate" }>;
  /** Its grammar comes first: compiled elsewhere, while the loop goes on. */
  async function generateByGrammar(message: Generate, format: GrammarFormat): Promise<void> {
    const { id } = message;
    starting.add(id);
    try {
      const { loaded, grammars } = loadedModel();
      const promptTokens = promptTokensOf(loaded.tokenizer, message.input);
      if (grammars === undefined) throw new GrammarError("answers can't be held to a grammar on this platform");
      const mask = await grammars.mask(format);
      if (starting.has(id)) generate(message, promptTokens, mask);
      else mask.dispose();
    } catch (error) {
      port.post({ type: "refused", id, error: errorValue(error) });
    } finally {
      starting.delete(id);
    }
  }

  function generate(message: Generate, promptTokens: readonly number[], mask?: LogitsMask): void {
    const { loaded, loop } = loadedModel();
    const { type: _, id, input: __, ...options } = message;
    const { tokenizer } = loaded;
    loop.submit(
      id,
      { ...options, promptTokens },
      {
        onOutput: ({ text, tokens, logprobs, promptLogprobs, finishReason, stoppedBy }, usage) => {
          const stopped = stoppedBy === undefined ? {} : { stoppedBy };
          const end = finishReason === undefined ? undefined : { ...usage, finishReason, ...stopped };
          const scores = logprobs && { logprobs: logprobs.map((logprob) => scoreOf(tokenizer, logprob)) };
          const prompt = promptLogprobs && {
            promptLogprobs: promptLogprobs.map((each) => ({ ...scoreOf(tokenizer, each), rank: each.rank })),
          };
          outputs.push({ id, text, tokens, ...scores, ...prompt, end });
        },
        onError: (error) => port.post({ type: "refused", id, error: errorValue(error) }),
      },
      mask,
    );
    port.post({ type: "started", id, promptTokens });
  }

  /** Does what may fail because of the request `id`, and says so. */
  const refusing = (id: number, work: () => void): void => {
    try {
      work();
    } catch (error) {
      port.post({ type: "refused", id, error: errorValue(error) });
    }
  };

  /** The same, of what takes a while. */
  const answering = (id: number, work: () => Promise<FromEngine>): void => {
    const refuse = (error: unknown): void => port.post({ type: "refused", id, error: errorValue(error) });
    Promise.try(work).then((answer) => port.post(answer), refuse);
  };

  const answerFailure = (error: unknown): void => port.post({ type: "failed", error: errorValue(error) });

  port.onMessage((message) => {
    switch (message.type) {
      case "probe":
        platform.probe(message).then((result) => port.post({ type: "probed", result }), answerFailure);
        break;
      case "load":
        load(message.spec).catch(answerFailure);
        break;
      case "generate":
        if (message.grammar !== undefined) void generateByGrammar(message, message.grammar);
        else
          refusing(message.id, () => generate(message, promptTokensOf(loadedModel().loaded.tokenizer, message.input)));
        break;
      case "tokenize":
        refusing(message.id, () => {
          const { input } = message;
          const tokens =
            graph !== undefined && "prompt" in input
              ? graph.texts.encode(input.prompt)
              : promptTokensOf(loadedModel().loaded.tokenizer, input);
          port.post({ type: "tokenized", id: message.id, tokens });
        });
        break;
      case "detokenize":
        refusing(message.id, () => {
          const text = (graph?.texts ?? loadedModel().loaded.tokenizer).decode(message.tokens);
          port.post({ type: "detokenized", id: message.id, text });
        });
        break;
      case "embed": {
        const { id, inputs, truncates } = message;
        answering(id, async () => {
          return { type: "embedded", id, texts: await loadedGraph().embed(id, inputs, { truncates }) };
        });
        break;
      }
      case "run": {
        const { id, feeds } = message;
        answering(id, async () => ({ type: "ran", id, outputs: await loadedGraph().run(feeds) }));
        break;
      }
      case "acknowledge":
        model?.loop.acknowledge(message.id, message.tokens);
        break;
      case "cancel":
        starting.delete(message.id);
        model?.loop.cancel(message.id);
        graph?.cancel(message.id);
        break;
      case "stats":
        port.post({ type: "stats", id: message.id, stats: model?.loop.stats ?? graph?.stats });
        break;
      case "close":
        void (async () => {
          model?.grammars?.close();
          await model?.loop.close();
          // A provider that can't let go must not keep the thread: it ends in any case.
          await model?.loaded.runner.release().catch(() => undefined);
          await graph?.close().catch(() => undefined);
          port.post({ type: "closed" });
          platform.end();
        })();
    }
  });
  port.post({ type: "ready" });
}

function scoreOf(tokenizer: Tokenizer, { token, logprob, top }: ChosenLogprob): ChosenScore {
  const score = (entry: TokenLogprob): TokenScore => ({
    ...entry,
    text: tokenizer.decode([entry.token]),
    bytes: tokenizer.bytesOf(entry.token),
  });
  return { ...score({ token, logprob }), top: top.map(score) };
}

function promptTokensOf(tokenizer: Tokenizer, input: PromptInput): readonly number[] {
  if ("promptTokens" in input) return input.promptTokens;
  const characters =
    "prompt" in input ? input.prompt.length : input.messages.reduce((sum, { content }) => sum + content.length, 0);
  if (characters > PROMPT_CHARACTERS_MAX) {
    throw new RangeError(`the prompt has ${characters} characters; at most ${PROMPT_CHARACTERS_MAX} are taken`);
  }
  return "prompt" in input ? tokenizer.encode(input.prompt) : tokenizer.encodeChat(input.messages, input);
}
