/** Logprobs in OpenAI's two forms. Pure. */
import type { ChosenScore, TokenScore } from "../../engine/index.ts";

/** What OpenAI says of a token that can't be: JSON has no infinity. */
const IMPOSSIBLE = -9_999;
const finite = ({ logprob }: TokenScore): number => (Number.isFinite(logprob) ? logprob : IMPOSSIBLE);

const scoreOf = (score: TokenScore) => ({ token: score.text, logprob: finite(score), bytes: [...score.bytes] });

/** Of chats: `choices[].logprobs`. */
export const chatLogprobs = (scores: readonly ChosenScore[]) => ({
  content: scores.map((score) => ({ ...scoreOf(score), top_logprobs: score.top.map(scoreOf) })),
  refusal: null,
});

/** Of completions: lists side by side, with each token's place in the text, which begins at `offset`. */
export function completionLogprobs(scores: readonly ChosenScore[], offset: number) {
  let at = offset;
  return {
    tokens: scores.map(({ text }) => text),
    token_logprobs: scores.map(finite),
    top_logprobs: scores.map(({ top }) => Object.fromEntries(top.map((score) => [score.text, finite(score)]))),
    text_offset: scores.map(({ text }) => {
      const begin = at;
      at += text.length;
      return begin;
    }),
  };
}
