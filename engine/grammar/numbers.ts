/**
 * Decimal numbers between bounds, as rules of a grammar. The compiler's own let wrong ones through. Not every number between the bounds can be
 * said, but none outside: fractions are short and don't end in zero, and only such whole parts have one as lie between the bounds with it.
 */

/** In EBNF. `max` and `min` themselves count. */
export interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** Beyond this bounds are none: it has so many digits that f64 still tells neighbours apart. */
const WHOLE_MAX = 999_999_999_999_999;
const FRACTION_DIGITS_MAX = 9;
const FRACTION = `"." [0-9]{0,${FRACTION_DIGITS_MAX - 1}} [1-9]`;

/** Whole numbers from `min` to `max`; undefined: there are none. */
export function wholeBetween({ min, max }: Bounds): string | undefined {
  const [low, high] = [Math.max(Math.ceil(min), -WHOLE_MAX), Math.min(Math.floor(max), WHOLE_MAX)];
  return either([...(low < 0 ? negative(natural(Math.max(1, -high), -low)) : []), ...natural(Math.max(0, low), high)]);
}

/**
 * Numbers from `min` to `max`; undefined: there are none that can be said.
 * @param excludes bounds that don't count
 */
export function numberBetween({ min, max }: Bounds, excludes: { min: boolean; max: boolean }): string | undefined {
  const [low, high] = [Math.max(Math.ceil(min), -WHOLE_MAX), Math.min(Math.floor(max), WHOLE_MAX)];
  const whole = wholeBetween({
    min: excludes.min && low === min ? low + 1 : low,
    max: excludes.max && high === max ? high - 1 : high,
  });
  const above = either(natural(Math.max(0, low), high - 1));
  const below = either(natural(Math.max(0, -high), -low - 1));
  return either([
    ...(whole === undefined ? [] : [whole]),
    ...(above === undefined ? [] : [`${above} ${FRACTION}`]),
    ...(below === undefined ? [] : [`"-" ${below} ${FRACTION}`]),
  ]);
}

const either = (ways: readonly string[]): string | undefined =>
  ways.length === 0 ? undefined : `(${ways.map((way) => `(${way})`).join(" | ")})`;
const negative = (ways: readonly string[]): string[] => ways.map((way) => `"-" (${way})`);

/** Ways to write the numbers from `low` to `high`, neither negative. */
function natural(low: number, high: number): string[] {
  if (low > high) return [];
  if (low === 0) return ['"0"', ...natural(1, high)];
  const [shortest, longest] = [String(low).length, String(high).length];
  if (shortest === longest) return [digits(String(low), String(high))];
  const ways: string[] = [];
  // Lengths of which every number is between the bounds go together: the fewer ways, the surer the compiler.
  const from = low === 10 ** (shortest - 1) ? shortest : shortest + 1;
  const to = high === 10 ** longest - 1 ? longest : longest - 1;
  if (from > shortest) ways.push(digits(String(low), "9".repeat(shortest)));
  if (from <= to) ways.push(`[1-9] [0-9]{${from - 1},${to - 1}}`);
  if (to < longest) ways.push(digits(String(10 ** (longest - 1)), String(high)));
  return ways;
}

/** Texts of digits between two of one length. */
function digits(low: string, high: string): string {
  const [first, last] = [Number(low[0]), Number(high[0])];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (low === high) return `"${low}"`;
  if (low.length === 1) return `[${first}-${last}]`;
  if (first === last) return `"${first}" (${digits(lowRest, highRest)})`;
  const nines = "9".repeat(lowRest.length);
  const zeros = "0".repeat(lowRest.length);
  const rest = `[0-9]{${lowRest.length}}`;
  // What begins like a bound is bounded further on; what begins in between isn't.
  const ways: string[] = [];
  const [from, to] = [lowRest === zeros ? first : first + 1, highRest === nines ? last : last - 1];
  if (from > first) ways.push(`"${first}" (${digits(lowRest, nines)})`);
  if (from <= to) ways.push(`[${from}-${to}] ${rest}`);
  if (to < last) ways.push(`"${last}" (${digits(zeros, highRest)})`);
  return ways.map((way) => `(${way})`).join(" | ");
}
