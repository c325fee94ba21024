/**
 * Structure-aware malformed input: messages that are almost right. Frames for data links, JSON for control links.
 * Each starts from something valid and is bent in one or a few ways, so that it gets past the first check.
 */
import { FrameBatch, KIND, type Kind } from "../../protocol/frame.ts";
import { encodeOpen, pack, unpack } from "../../protocol/heads.ts";
import { below, chance, pickOne, type Random } from "../support/random.ts";

const KINDS = Object.values(KIND) as Kind[];
const ODD_NUMBERS = [0, 1, 2, 3, 15, 16, 255, 256, 65_535, 65_536, 0x7fffffff, 0x80000000, 0xffffffff];
const ODD_VALUES: readonly unknown[] = [
  null,
  undefined,
  true,
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  "",
  "x".repeat(5_000),
  [],
  {},
  [[[[]]]],
  { __proto__: null },
  new Uint8Array(3),
  2 ** 53,
  "\u0000",
  "../../etc/passwd",
];

const number = (random: Random): number =>
  chance(random, 0.7) ? pickOne(random, ODD_NUMBERS) : below(random, 0x1_0000_0000);

const OPENS = [
  {
    kind: "http",
    app: "a",
    deployment: "D",
    requestId: "r",
    deadlineMs: null,
    epoch: 0,
    hops: 0,
    model: "",
    method: "GET",
    path: "/",
    mount: "",
    scheme: "http",
    headers: ["host", "x"],
    remote: "::1",
    upgrade: false,
  },
  {
    kind: "call",
    app: "a",
    deployment: "D",
    requestId: "r",
    deadlineMs: 5,
    epoch: 0,
    hops: 0,
    model: "",
    method: "m",
    stream: true,
  },
  {
    kind: "grpc",
    app: "a",
    deployment: "D",
    requestId: "r",
    deadlineMs: 5,
    epoch: 0,
    hops: 0,
    model: "",
    path: "/p.S/M",
    metadata: [],
  },
] as const;
const HEADS: readonly object[] = [
  ...OPENS.map((open) => unpack(encodeOpen(open)) as object),
  { min: 1, max: 1, build: "b", features: [], ticket: "t" },
  [200, ["a", "b"], null],
  { trailers: ["a", "b"], status: { code: 0, message: "" }, close: { code: 1000, reason: "" } },
  { code: "INTERNAL", message: "m", status: { code: 2, message: "x" }, trailers: [] },
];

/** An object (or array) with one or two of its fields odd, missing or new. */
function bent(random: Random, object: object): unknown {
  if (Array.isArray(object)) {
    const copy = [...(object as unknown[])];
    for (let i = 1 + below(random, 2); i > 0; i--) copy[below(random, copy.length + 1)] = pickOne(random, ODD_VALUES);
    return chance(random, 0.1) ? copy.slice(0, below(random, copy.length)) : copy;
  }
  const copy: Record<string, unknown> = { ...object };
  for (let i = 1 + below(random, 2); i > 0; i--) {
    const key = pickOne(random, [...Object.keys(copy), "constructor", "extra"]);
    if (chance(random, 0.3)) delete copy[key];
    else copy[key] = pickOne(random, ODD_VALUES);
  }
  return chance(random, 0.05) ? pickOne(random, ODD_VALUES) : copy;
}

function payload(random: Random): Uint8Array | undefined {
  switch (below(random, 5)) {
    case 0:
      return undefined;
    case 1:
      return Uint8Array.from({ length: below(random, 200) }, () => below(random, 256));
    case 2:
      return new Uint8Array(below(random, 70_000));
    case 3:
      return pack(pickOne(random, HEADS));
    default:
      return pack(bent(random, pickOne(random, HEADS)));
  }
}

/**
 * An attacker on one link: mostly keeps the rules (opens streams, sends pieces in sequence, ends, pings), so that its lies meet a busy state,
 * and now and then sends something bent.
 */
export class FrameAttacker {
  readonly #random: Random;
  readonly #open = new Map<number, number>();
  #next: number;

  /** `firstId`: 1 as the dialler, 2 as the listener. `known`: streams that the victim opened. */
  constructor(random: Random, firstId: number, known: readonly number[]) {
    this.#random = random;
    this.#next = firstId;
    for (const id of known) this.#open.set(id, 0);
  }

  message(): Uint8Array {
    const random = this.#random;
    const batch = new FrameBatch();
    for (let i = below(random, 6); i >= 0 && batch.length < 300_000; i--) {
      if (chance(random, 0.92)) this.#lawful(batch);
      else this.#bent(batch);
    }
    const bytes = batch.take();
    if (chance(random, 0.97) || bytes.byteLength === 0) return bytes;
    const broken = bytes.slice(0, chance(random, 0.5) ? bytes.byteLength : below(random, bytes.byteLength));
    for (let i = below(random, 4); i > 0 && broken.byteLength > 0; i--)
      broken[below(random, broken.byteLength)] = below(random, 256);
    return broken;
  }

  #lawful(batch: FrameBatch): void {
    const random = this.#random;
    const id = this.#open.size === 0 || chance(random, 0.3) ? 0 : pickOne(random, [...this.#open.keys()]);
    if (id === 0) {
      if (chance(random, 0.2)) return batch.add(KIND.ping, 0, 0, 0, number(random));
      if (chance(random, 0.2)) return batch.add(KIND.load, 0, 0, 0, number(random));
      batch.add(KIND.open, 0, 0, this.#next, 0, encodeOpen(pickOne(random, OPENS)));
      this.#open.set(this.#next, 0);
      this.#next += 2;
    } else if (chance(random, 0.7)) {
      const sequence = this.#open.get(id)!;
      this.#open.set(id, sequence + 1);
      batch.add(
        KIND.chunk,
        below(random, 3) | (chance(random, 0.2) ? 4 : 0),
        0,
        id,
        sequence,
        new Uint8Array(below(random, chance(random, 0.1) ? 60_000 : 200)),
      );
    } else {
      batch.add(pickOne(random, [KIND.end, KIND.cancel] as const), 0, 0, id, 0);
      this.#open.delete(id);
    }
  }

  #bent(batch: FrameBatch): void {
    const random = this.#random;
    const stream =
      chance(random, 0.7) && this.#open.size > 0 ? pickOne(random, [...this.#open.keys()]) : number(random);
    if (chance(random, 0.3))
      batch.add(
        KIND.open,
        chance(random, 0.5) ? 16 : 0,
        0,
        chance(random, 0.7) ? this.#next : stream,
        0,
        pack(bent(random, unpack(encodeOpen(pickOne(random, OPENS))) as object)),
      );
    else
      batch.add(
        pickOne(random, KINDS),
        below(random, 256),
        chance(random, 0.8) ? 0 : below(random, 65_536),
        stream,
        chance(random, 0.5) ? below(random, 4) : number(random),
        payload(random),
      );
  }
}

const CONTROL: readonly object[] = [
  {
    type: "join",
    protocol: { min: 1, max: 1 },
    build: "b",
    role: "worker",
    credential: "x",
    id: "w",
    host: "h",
    incarnation: 1,
  },
  { type: "report", held: { term: 1, revision: 1 }, replicas: [], ingress: null },
  {
    type: "report",
    held: null,
    replicas: [
      { replica: "a#D#x", incarnation: 1, state: "ready", pid: 1, startedAtMs: 1, userConfigVersion: 0, ongoing: 0 },
    ],
    ingress: null,
  },
  { type: "stats", held: null, deployments: [{ app: "a", deployment: "D", queued: 0, ongoing: 0, links: 0 }] },
  { type: "leave", reason: "x" },
  { type: "pong" },
];

/** One message for a control link. */
export function hostileControl(random: Random): string {
  const text =
    JSON.stringify(chance(random, 0.3) ? pickOne(random, CONTROL) : bent(random, pickOne(random, CONTROL))) ?? "null";
  switch (below(random, 12)) {
    case 0:
      return text.slice(0, below(random, text.length + 1));
    case 1:
      return text.replace(/\d+/, "1e999");
    case 2:
      return "[".repeat(below(random, 20_000));
    case 3:
      return text.replaceAll('"', "'");
    default:
      return text;
  }
}
