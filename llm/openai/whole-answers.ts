/** Answers put together from their events, for replies that come whole. */
import type { ChosenScore, PromptScore } from "../../engine/index.ts";
import type { AnswerEvent, Choices } from "./choices.ts";

type Call = Extract<AnswerEvent, { kind: "call" }>;
type End = Extract<AnswerEvent, { kind: "end" }>;

export interface WholeAnswer {
  readonly thought: string;
  readonly text: string;
  readonly calls: readonly Call[];
  readonly scores: readonly ChosenScore[];
  /** Of the prompt's tokens but the first; undefined where nobody asked. */
  readonly promptScores: readonly PromptScore[] | undefined;
  readonly end: End;
}

/** All of them; undefined where the request was called off. */
export async function wholeAnswers(choices: Choices, count: number): Promise<readonly WholeAnswer[] | undefined> {
  const answers = Array.from({ length: count }, () => ({
    thought: "",
    text: "",
    calls: [] as Call[],
    scores: [] as ChosenScore[],
    promptScores: undefined as readonly PromptScore[] | undefined,
    end: undefined as End | undefined,
  }));
  for await (const said of choices.events()) {
    const answer = answers[said.index]!;
    if (said.kind === "text") {
      answer.text += said.text;
      answer.scores.push(...(said.logprobs ?? []));
    } else if (said.kind === "prompt") answer.promptScores = said.scores;
    else if (said.kind === "thought") answer.thought += said.text;
    else if (said.kind === "call") answer.calls.push(said);
    else answer.end = said;
  }
  return answers.every((answer): answer is typeof answer & WholeAnswer => answer.end !== undefined)
    ? answers
    : undefined;
}
