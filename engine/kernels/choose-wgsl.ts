/**
 * What `Chooser` does to rows of logits, in WGSL: one workgroup a row. `../providers/draw-words.ts` lays out `asked`, `../providers/gpu-chooser.ts`
 * reads `chosen`. Every filter is a number of tokens to keep from the best on, and so is the draw: `rank-wgsl.ts` finds them.
 */

import { TOP_LOGPROBS_MAX } from "../limits.ts";
import { RANK_WGSL } from "./rank-wgsl.ts";

/** Words that each row of `asked` begins with. */
export const HEADER_WORDS = 12;
/** Words of a row's edits: a token with a bit for "seen", what is added to its score, what is then taken from it. */
export const EDIT_WORDS = 3;
export const SEEN_BIT = 0x8000_0000;
export const FLAGS = { active: 1, masked: 2, drawn: 4, logprobs: 8 } as const;
/** Most tokens that are listed with their logits. */
export const BEST_MAX = TOP_LOGPROBS_MAX;
/** Words of a row of `chosen`: usable or not, token, its logit, the best logit, the sum of weights against it; then ids and logits of the best. */
export const CHOSEN_WORDS = 5 + 2 * BEST_MAX;
/** `vocabulary`, `one` (of `oneOf`) and `threads` of a workgroup are set when the pipeline is made. */
export const CHOOSE_WGSL = /* wgsl */ `${RANK_WGSL}
override vocabulary: u32;
/** What 1 is as a whole number in sums of excesses. */
override one: f32;
override threads: u32;

@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> asked: array<u32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> members: array<u32>;
@group(0) @binding(4) var<storage, read_write> chosen: array<u32>;

var<workgroup> best: array<vec2u, ${BEST_MAX}>;

/** Lists the best tokens and their logits, up to this one. */
fn listBest(thread: u32, first: u32, end: Place, out: u32) {
  for (var i = thread; i < vocabulary; i += threads) {
    let key = keys[first + i];
    if (key > end.key || (key == end.key && i <= end.id)) { best[atomicAdd(&added, 1u)] = vec2u(key, i); }
  }
  let size = together(thread, 0, 0, 0, 0).x;
  for (var i = thread; i < size; i += threads) {
    let own = best[i];
    var place = out;
    for (var j = 0u; j < size; j++) {
      let other = best[j];
      if (other.x > own.x || (other.x == own.x && other.y < own.y)) { place += 2; }
    }
    chosen[place] = own.y;
    chosen[place + 1] = logits[first + own.y];
  }
}

/** Bias, penalties and the mask. */
fn adjust(thread: u32, first: u32, head: u32) {
  for (var i = thread; i < asked[head + 2]; i += threads) {
    let edit = asked[head + 1] + ${EDIT_WORDS} * i;
    let at = first + (asked[edit] & 0x7fffffffu);
    var score = valueOf(keys[at]) + bitcast<f32>(asked[edit + 1]);
    if ((asked[edit] & ${SEEN_BIT}u) != 0) {
      let penalty = bitcast<f32>(asked[head + 4]);
      score = select(score * penalty, score / penalty, score > 0);
    }
    keys[at] = keyOf(bitcast<u32>(score - bitcast<f32>(asked[edit + 2])));
  }
  storageBarrier();
  if ((asked[head] & ${FLAGS.masked}u) == 0) { return; }
  for (var i = thread; i < vocabulary; i += threads) {
    if ((asked[asked[head + 3] + i / 32] & (1u << (i % 32))) == 0) { keys[first + i] = 0; }
  }
  storageBarrier();
}

@compute @workgroup_size(threads)
fn choose(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.x * ${HEADER_WORDS};
  let out = group.x * ${CHOSEN_WORDS};
  let first = group.x * vocabulary;
  let flags = asked[head];
  if ((flags & ${FLAGS.active}u) == 0) { return; }
  for (var i = thread; i < vocabulary; i += threads) { keys[first + i] = keyOf(logits[first + i]); }
  storageBarrier();

  let wanted = asked[head + 10];
  let topP = bitcast<f32>(asked[head + 7]);
  var scale: Scale;
  var whole: Whole;
  var held: Held;
  var place: Place;
  // How many tokens are left, and their mass if it is of as many.
  var kept = 0u;
  var mass = 0.0;
  var weighed = 0u;
  var token = 0u;
  // In one loop, because some compilers put functions in wherever they are called: first what log-probabilities want of the model's own scores,
  // then the scores that are drawn from, then one thing to find after another: the mass of the k best, where top-p cuts, the mass of what is left,
  // and the token that the draw falls on; the last that is left, where rounding leaves none.
  for (var part = 0u; part < 6; part++) {
    if (part == 1) { adjust(thread, first, head); }
    if (part < 2) {
      var low = 0u;
      var high = 0u;
      for (var i = thread; i < vocabulary; i += threads) {
        let key = keys[first + i];
        low = max(low, ~key);
        high = max(high, key);
      }
      let range = together(thread, 0, 0, high, low);
      let isUsable = range.w != 0xffffffffu && range.z != ~range.w;
      if (part == 0 && thread == 0) { chosen[out] = select(0u, 1u, isUsable); }
      if (part == 0 && !isUsable) { return; }
      if (part == 0 && (flags & ${FLAGS.logprobs}u) == 0) { continue; }
      scale = Scale(first, valueOf(range.z), PER_NAT, DEEPEST / PER_NAT);
      if (part == 1) {
        if ((flags & ${FLAGS.drawn}u) == 0) {
          // The first of the best.
          var own = 0u;
          for (var i = thread; i < vocabulary; i += threads) {
            if (keys[first + i] == range.z) { own = max(own, ~i); }
          }
          token = ~together(thread, 0, 0, own, 0).z;
          break;
        }
        scale.perUnit = bitcast<f32>(asked[head + 5]);
        scale.reach = bitcast<f32>(asked[head + 11]);
      }
      whole = rank(thread, scale, bitcast<f32>(asked[head + 8]));
      held.bucket = ALL;
      kept = whole.tokens;
      mass = whole.mass;
      weighed = kept;
      if (part == 0 && thread == 0) {
        chosen[out + 3] = bitsOf(range.z);
        chosen[out + 4] = bitcast<u32>(mass);
      }
      if (asked[head + 6] > 0) { kept = min(kept, asked[head + 6]); }
    }
    var goal = Goal(false, kept, 0.0);
    var isNeeded = kept != weighed;
    switch (part) {
      case 0: {
        goal.tokens = wanted;
        isNeeded = wanted > 0;
      }
      case 1: { isNeeded = isNeeded && topP < 1; }
      case 2: {
        goal = Goal(true, 0, topP * mass);
        isNeeded = topP < 1;
      }
      case 4: {
        // What is at the target itself is before the token that is drawn.
        goal = Goal(true, 0, bitcast<f32>(bitcast<u32>(bitcast<f32>(asked[head + 9]) * mass) + 1));
        isNeeded = true;
      }
      case 5: { isNeeded = place.tokens > kept; }
      default: {}
    }
    if (isNeeded) {
      place = locate(thread, scale, goal, &held);
      if (part == 0) { listBest(thread, first, place, out + 5); }
      if (part == 2) { kept = min(kept, place.tokens); }
      if (part == 1 || part == 3) {
        mass = place.mass;
        weighed = kept;
      }
    }
    if (part == 2) { kept = min(kept, max(whole.near, 1)); }
    token = place.id;
  }
  if (thread == 0) {
    chosen[out + 1] = token;
    chosen[out + 2] = logits[first + token];
  }
}
`;
