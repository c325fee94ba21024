/** One byte range of a `Range` header (RFC 9110 §14.2). Several ranges are answered whole, as allowed. Pure. */
export function rangeOf(header: string | undefined, size: number): [from: number, to: number] | "unsatisfiable" | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (match === null || (match[1] === "" && match[2] === "")) return null;
  const [, first = "", last = ""] = match;
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : [size - length, size - 1];
  }
  const from = Number(first);
  const to = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return from >= size || to < from ? "unsatisfiable" : [from, to];
}
