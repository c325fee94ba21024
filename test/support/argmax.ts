/** Index of the largest value; the first of equals. */
export function argmax(values: Float32Array): number {
  return values.indexOf(values.reduce((best, value) => Math.max(best, value)));
}
