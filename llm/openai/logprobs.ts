/** Logprobs in OpenAI's two forms, and a prompt's in vLLM's. Pure. */
import type { ChosenScore, PromptScore, TokenScore } from "../../engine/index.ts";

/** What OpenAI says of a token that can't be: JSON has no infinity. */
const IMPOSSIBLE = -9_999;
const finite = ({ logprob }: TokenScore): number => (Number.isFinite(logprob) ? logprob : IMPOSSIBLE);

const scoreOf = (score: TokenScore) => ({ token: score.text, logprob: finite(score), bytes: [...score.bytes] });

/** Of chats: `choices[].logprobs`. */
export const chatLogprobs = (scores: readonly ChosenScore[]) => ({
  content: scores.map((score) => ({ ...scoreOf(score), top_logprobs: score.top.map(scoreOf) })),
  refusal: null,
});

/** The best ones, then the token itself where it isn't one of them. */
function listed({ top, ...own }: ChosenScore, most: number): readonly TokenScore[] {
  const best = top.slice(0, most);
  return best.some(({ token }) => token === own.token) ? best : [...best, own];
}

/**
 * Of completions: lists side by side, with each token's place in the text, which begins at `offset`.
 * @param most alternatives of each
 * @param first what a token before them says, which nothing foretold
 */
export function completionLogprobs(
  scores: readonly ChosenScore[],
  most: number,
  { first, offset = 0 }: { readonly first?: string | undefined; readonly offset?: number } = {},
) {
  const texts = [...(first === undefined ? [] : [first]), ...scores.map(({ text }) => text)];
  const nothing = first === undefined ? [] : [null];
  let at = offset;
  return {
    tokens: texts,
    token_logprobs: [...nothing, ...scores.map(finite)],
    top_logprobs: [
      ...nothing,
      ...scores.map((score) =>
        Object.fromEntries(
          listed(score, most)
            // Of those that look alike the likeliest.
            .filter(({ text }, place, all) => all.findIndex((other) => other.text === text) === place)
            .map((each) => [each.text, finite(each)]),
        ),
      ),
    ],
    text_offset: texts.map((text) => {
      const begin = at;
      at += text.length;
      return begin;
    }),
  };
}

/** vLLM's `prompt_logprobs`: of each token what is known by its id, null of the first. */
export const promptLogprobs = (scores: readonly PromptScore[]) => [
  null,
  ...scores.map((score) =>
    Object.fromEntries(
      listed(score, score.top.length).map((each, place) => [
        each.token,
        {
          logprob: finite(each),
          rank: each.token === score.token ? score.rank : place + 1,
          decoded_token: each.text,
        },
      ]),
    ),
  ),
];
