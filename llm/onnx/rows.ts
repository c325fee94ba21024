/** Several calls of a graph as one: tensors one below the other on the first axis, and apart again. Pure. */
import { type GraphFacts, sizeOf, type TensorData, type Tensors, type TensorValue } from "../../engine/index.ts";

/** Whether a file says itself that its rows are strangers to each other: every input and output has the same size, by name, as its first. */
export function hasBatchAxis({ inputs, outputs }: GraphFacts): boolean {
  const axes = new Set([...inputs, ...outputs].map(({ shape }) => shape?.[0]));
  const [axis] = axes;
  return axes.size === 1 && typeof axis === "string" && axis !== "?" && inputs.length > 0;
}

/** Whether it may be that, if somebody says so: each input's first size is open. */
export const hasOpenRows = ({ inputs }: GraphFacts): boolean =>
  inputs.length > 0 && inputs.every(({ shape }) => shape === undefined || typeof shape[0] === "string");

/** Calls that may run as one: those whose tensors differ in their number of rows only, up to `most` rows. */
export function grouped<T extends { readonly feeds: Tensors }>(calls: readonly T[], most: number): T[][] {
  const groups: T[][] = [];
  const open = new Map<string, { readonly group: T[]; rows: number }>();
  for (const call of calls) {
    const key = JSON.stringify(
      Object.entries(call.feeds)
        .map(([name, { dims }]) => [name, dims.slice(1)] as const)
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    );
    const rows = rowsOf(call.feeds);
    const last = open.get(key);
    if (last !== undefined && last.rows + rows <= most) {
      last.group.push(call);
      last.rows += rows;
      continue;
    }
    const group = [call];
    groups.push(group);
    open.set(key, { group, rows });
  }
  return groups;
}

export const rowsOf = (feeds: Tensors): number => Object.values(feeds)[0]?.dims[0] ?? 0;

/** The tensors of several calls, one below the other. */
export function joined(calls: readonly Tensors[]): Tensors {
  const [first, ...others] = calls;
  if (first === undefined || others.length === 0) return first ?? {};
  return Object.fromEntries(
    Object.entries(first).map(([name, { type, dims }]) => {
      const parts = calls.map((call) => call[name]!);
      const rows = parts.reduce((sum, part) => sum + part.dims[0]!, 0);
      return [name, { type, dims: [rows, ...dims.slice(1)], data: concatenated(parts) }];
    }),
  );
}

function concatenated(parts: readonly TensorValue[]): TensorData {
  const [{ data }] = parts as [TensorValue];
  if (Array.isArray(data)) return parts.flatMap((part) => part.data as string[]);
  const whole = new (data.constructor as new (length: number) => Float32Array)(
    parts.reduce((sum, part) => sum + part.data.length, 0),
  );
  let at = 0;
  for (const part of parts) {
    whole.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return whole;
}

/** The outputs of a joined run, call by call. Throws where an output hasn't a row for each that went in. */
export function apart(outputs: Tensors, rows: readonly number[]): Tensors[] {
  const all = rows.reduce((sum, count) => sum + count, 0);
  for (const [name, { dims }] of Object.entries(outputs))
    if (dims[0] !== all)
      throw new Error(
        `the output ${name} has ${dims[0]} rows for ${all}: this graph can't be batched, set maxBatch to 1`,
      );
  let from = 0;
  return rows.map((count) => {
    const part = Object.entries(outputs).map(([name, { type, dims, data }]) => {
      const width = sizeOf(dims.slice(1));
      const values = data.slice(from * width, (from + count) * width) as TensorData;
      return [name, { type, dims: [count, ...dims.slice(1)], data: values }] as const;
    });
    from += count;
    return Object.fromEntries(part);
  });
}
