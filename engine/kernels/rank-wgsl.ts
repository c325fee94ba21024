/**
 * Buckets of scores and finding a place in a ranked list, in WGSL, for one row by one workgroup. A part of `choose-wgsl.ts`, which has `keys`
 * (numbers that order as scores do; 0: may not come) and `members` (room for as many ids).
 *
 * Nothing is sorted. Scores are counted into buckets of an eighth of a nat below the best. `locate` finds where a list that begins with the best
 * ends: in the buckets' running sums, and then among the tokens of one bucket by halving, equals by id. Weights are a bucket's own times one and
 * a bit; the bits are added up as whole numbers, so that the sums don't depend on the order in which threads come.
 */
import { BUCKETS as HOST_BUCKETS, scaleOf } from "../scores.ts";

/** Fewer than on the host: some drivers clear a workgroup's memory word by word, in code that takes seconds to compile. */
export const PER_NAT = 8;
const BUCKETS = (HOST_BUCKETS / scaleOf(1)) * PER_NAT;

/** Sums of so many excesses, each below 0.065, stay below 2^31; f32 has no use for more than 24 bits. */
export const oneOf = (vocabulary: number): number => 2 ** Math.min(24, 34 - Math.ceil(Math.log2(vocabulary)));

export const RANK_WGSL = /* wgsl */ `
const BUCKETS = ${BUCKETS}u;
/** Behind them: what weighs nothing. */
const DEEPEST = f32(BUCKETS);
const PER_NAT = ${PER_NAT}.0;
const ALL = BUCKETS + 1u;

/** First what each bucket holds; then, after "rank", how many tokens and how much mass (as bits of f32) come before it. */
var<workgroup> counts: array<atomic<u32>, ALL + 1u>;
var<workgroup> masses: array<atomic<i32>, ALL + 1u>;
/** Running sums of threads, and those of the step before. */
var<workgroup> partCounts: array<u32, 2 * threads>;
var<workgroup> partMasses: array<f32, 2 * threads>;
var<workgroup> added: atomic<u32>;
var<workgroup> addedExcess: atomic<i32>;
var<workgroup> most: atomic<u32>;
var<workgroup> mostOther: atomic<u32>;
var<workgroup> told: vec4u;

/** Keys order as scores do; no finite score has the key 0, and both zeros have the same. */
fn keyOf(bits: u32) -> u32 {
  if ((bits & 0x7f800000u) == 0x7f800000u) { return 0; }
  let plain = select(bits, 0u, bits == 0x80000000u);
  return select(plain | 0x80000000u, ~plain, (plain & 0x80000000u) != 0);
}

fn bitsOf(key: u32) -> u32 {
  return select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0);
}

fn valueOf(key: u32) -> f32 { return bitcast<f32>(bitsOf(key)); }

/** How a row's scores are counted into buckets: the best score, buckets for each unit, and the distance beyond which all is alike. */
struct Scale { first: u32, highest: f32, perUnit: f32, reach: f32 }

fn depthOf(key: u32, scale: Scale) -> f32 {
  return min(min(scale.highest - valueOf(key), scale.reach) * scale.perUnit, DEEPEST);
}

/** What a token weighs more than its bucket's middle does, as a part of it. */
fn excessOf(depth: f32) -> i32 {
  let x = (round(depth) - depth) / PER_NAT;
  return i32(round(one * x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x / 24.0)))));
}

/** exp(-bucket / 8) by 2^n times a polynomial, as on the host: a built-in exp may be off by more than the rest together. */
fn middleOf(bucket: u32) -> f32 {
  let doublings = f32(bucket) * (-1.4426950 / PER_NAT);
  let n = round(doublings);
  let x = (doublings - n) * 0.69314718;
  let y = 1.0 + x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
  return select(bitcast<f32>(bitcast<u32>(y) + (bitcast<u32>(i32(n)) << 23)), 0.0, bucket >= BUCKETS);
}

/** The mass of so many tokens of a bucket with these excesses. */
fn massOf(middle: f32, tokens: u32, excess: i32) -> f32 {
  return middle * (f32(tokens) + f32(excess) / one);
}

/** The sums over all threads of counts and excesses, and the greatest of two values: told to all, so that all go the same way. */
fn together(thread: u32, tokens: u32, excess: i32, high: u32, other: u32) -> vec4u {
  if (tokens != 0) { atomicAdd(&added, tokens); }
  if (excess != 0) { atomicAdd(&addedExcess, excess); }
  if (high != 0) { atomicMax(&most, high); }
  if (other != 0) { atomicMax(&mostOther, other); }
  workgroupBarrier();
  if (thread == 0) {
    told = vec4u(
      atomicExchange(&added, 0u),
      bitcast<u32>(atomicExchange(&addedExcess, 0i)),
      atomicExchange(&most, 0u),
      atomicExchange(&mostOther, 0u),
    );
  }
  return workgroupUniformLoad(&told);
}

fn tell(thread: u32, value: vec4u) -> vec4u {
  if (thread == 0) { told = value; }
  return workgroupUniformLoad(&told);
}

/** Counts the row into buckets. How many tokens weigh anything, their mass, and how many lie no deeper than "depthMax". */
struct Whole { tokens: u32, mass: f32, near: u32 }

fn rank(thread: u32, scale: Scale, depthMax: f32) -> Whole {
  for (var i = thread; i <= ALL; i += threads) {
    atomicStore(&counts[i], 0u);
    atomicStore(&masses[i], 0i);
  }
  workgroupBarrier();
  var near = 0u;
  for (var i = thread; i < vocabulary; i += threads) {
    let key = keys[scale.first + i];
    if (key == 0) { continue; }
    let depth = depthOf(key, scale);
    let bucket = u32(round(depth));
    atomicAdd(&counts[bucket], 1u);
    atomicAdd(&masses[bucket], excessOf(depth));
    near += select(0u, 1u, depth <= depthMax);
  }
  workgroupBarrier();
  // Running sums: each thread's own buckets, then the threads' in a tree, always in the same order.
  let perThread = (ALL + threads) / threads;
  let own = thread * perThread;
  var tokens = 0u;
  var mass = 0.0;
  for (var i = own; i < min(own + perThread, ALL); i++) {
    tokens += atomicLoad(&counts[i]);
    mass += massOf(middleOf(i), atomicLoad(&counts[i]), atomicLoad(&masses[i]));
  }
  var half = 0u;
  for (var step = 1u; step < 2 * threads; step *= 2) {
    partCounts[half + thread] = tokens;
    partMasses[half + thread] = mass;
    workgroupBarrier();
    // At last what is before the thread's own.
    let back = select(step, 1u, step == threads);
    let isThere = thread >= back;
    let other = half + thread - select(0u, back, isThere);
    let otherTokens = select(0u, partCounts[other], isThere);
    let otherMass = select(0.0, partMasses[other], isThere);
    tokens = otherTokens + select(tokens, 0u, step == threads);
    mass = otherMass + select(mass, 0.0, step == threads);
    half = threads - half;
  }
  for (var i = own; i < min(own + perThread, ALL + 1u); i++) {
    let here = atomicLoad(&counts[i]);
    let more = massOf(middleOf(i), here, atomicLoad(&masses[i]));
    atomicStore(&counts[i], tokens);
    atomicStore(&masses[i], bitcast<i32>(mass));
    tokens += here;
    mass += more;
  }
  let whole = together(thread, near, 0, 0, 0);
  let sums = tell(thread, vec4u(atomicLoad(&counts[BUCKETS]), bitcast<u32>(massBefore(BUCKETS)), 0, 0));
  return Whole(sums.x, bitcast<f32>(sums.y), whole.x);
}

fn massBefore(bucket: u32) -> f32 { return bitcast<f32>(atomicLoad(&masses[bucket])); }

/** Where a list that begins with the best ends: its last token, and how many and how much it has in all. */
struct Place { tokens: u32, mass: f32, key: u32, id: u32 }

/** What is looked for: the last token before which there are fewer tokens, or less mass, than this. The best always counts. */
struct Goal { byMass: bool, tokens: u32, mass: f32 }

fn isWithin(goal: Goal, tokens: u32, mass: f32) -> bool {
  return select(tokens < goal.tokens, mass < goal.mass, goal.byMass);
}

/** The bucket whose tokens lie in "members", how many, the highest and lowest key. */
struct Held { bucket: u32, size: u32, high: u32, low: u32 }

fn locate(thread: u32, scale: Scale, goal: Goal, held: ptr<function, Held>) -> Place {
  var own = 0u;
  for (var i = thread; i < ALL; i += threads) {
    let tokens = atomicLoad(&counts[i]);
    if (atomicLoad(&counts[i + 1]) != tokens && isWithin(goal, tokens, massBefore(i))) { own = i; }
  }
  let bucket = together(thread, 0, 0, own, 0).z;
  if ((*held).bucket != bucket) { *held = collect(thread, scale, bucket); }
  let size = (*held).size;
  let before = tell(thread, vec4u(atomicLoad(&counts[bucket]), bitcast<u32>(massBefore(bucket)), 0, 0));
  let base = before.x;
  let baseMass = bitcast<f32>(before.y);
  let middle = middleOf(bucket);
  // By halving: first the least key above which all is within, which is a token's; then, of those with this key, the last one by id.
  var low = (*held).low;
  var high = (*held).high;
  var key = 0u;
  var above = vec2u(0, 0);
  var kept = 0u;
  loop {
    let isOver = low >= high;
    // How many are asked for is known: that was the id.
    if (isOver && kept > 0) { break; }
    if (isOver) { key = low; }
    let middleKey = low + (high - low) / 2;
    var tokens = 0u;
    var excess = 0i;
    var first = 0u;
    var last = 0u;
    for (var i = thread; i < size; i += threads) {
      let id = members[scale.first + i];
      let other = keys[scale.first + id];
      let isEqual = other == key;
      if (select(isEqual && (isOver || id <= middleKey), other > middleKey, kept == 0 && !isOver)) {
        tokens += 1;
        excess += excessOf(depthOf(other, scale));
        first = max(first, ~id);
        last = max(last, id);
      }
    }
    let sums = together(thread, tokens, excess, first, last);
    if (isOver) {
      kept = sums.x;
      if (goal.byMass) {
        let left = goal.mass - baseMass - massOf(middle, above.x, bitcast<i32>(above.y));
        let each = massOf(middle, 1, excessOf(depthOf(key, scale)));
        kept = u32(clamp(ceil(left / each), 1.0, f32(kept)));
      } else {
        kept = clamp(goal.tokens - base - above.x, 1, kept);
      }
      low = ~sums.z;
      high = select(sums.w, low, kept == 1);
    } else if (kept > 0) {
      if (sums.x >= kept) { high = middleKey; } else { low = middleKey + 1; }
    } else if (isWithin(goal, base + sums.x, baseMass + massOf(middle, sums.x, bitcast<i32>(sums.y)))) {
      high = middleKey;
      above = sums.xy;
    } else {
      low = middleKey + 1;
    }
  }
  let excess = bitcast<i32>(above.y) + i32(kept) * excessOf(depthOf(key, scale));
  return Place(base + above.x + kept, baseMass + massOf(middle, above.x + kept, excess), key, low);
}

fn collect(thread: u32, scale: Scale, bucket: u32) -> Held {
  var low = 0u;
  var high = 0u;
  for (var i = thread; i < vocabulary; i += threads) {
    let key = keys[scale.first + i];
    if (key == 0 || u32(round(depthOf(key, scale))) != bucket) { continue; }
    members[scale.first + atomicAdd(&added, 1u)] = i;
    low = max(low, ~key);
    high = max(high, key);
  }
  storageBarrier();
  let range = together(thread, 0, 0, high, low);
  return Held(bucket, range.x, range.z, ~range.w);
}
`;
