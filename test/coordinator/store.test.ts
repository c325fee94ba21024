/** One contract for every StateStore; then what only the file has: durability, lock, layout. Blobs and join tokens, which live beside it. */
import { mkdtempSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { sha256Hex } from "../../protocol/artefact.ts";
import { superfluous } from "../../protocol/blob-retention.ts";
import type { Sha256 } from "../../protocol/ids.ts";
import { BLOB_GRACE_MS } from "../../protocol/limits.ts";
import { generateKeys, signTicket, verifyTicket } from "../../protocol/ticket.ts";
import { sweepBlobs } from "../../coordinator/blob-sweep.ts";
import { FolderBlobs } from "../../coordinator/blobs.ts";
import { loadSigner, readOrCreate } from "../../coordinator/keys.ts";
import { emptyDesired, type DesiredState, type State } from "../../coordinator/state.ts";
import { DesiredStore } from "../../coordinator/store/desired.ts";
import { MemoryStore } from "../../coordinator/store/memory.ts";
import { SqliteStore } from "../../coordinator/store/sqlite.ts";
import { RevisionConflict, type StateStore } from "../../coordinator/store/store.ts";
import { JoinTokens } from "../../coordinator/tokens.ts";

const folder = (): string => mkdtempSync(join(tmpdir(), "skein-store-"));

describe.each<[string, () => StateStore]>([
  ["memory", () => new MemoryStore()],
  ["sqlite", () => new SqliteStore(join(folder(), "state.db"))],
])("a %s store", (_name, make) => {
  it("puts by revision, and refuses who comes too late", async () => {
    const store = make();
    expect(await store.get("k")).toBeNull();
    expect(await store.put("k", "1", 0)).toBe(1);
    await expect(store.put("k", "x", 0)).rejects.toThrow(RevisionConflict);
    expect(await store.put("k", "2", 1)).toBe(2);
    await expect(store.put("k", "x", 1)).rejects.toThrow('"k" has revision 2, not 1');
    await expect(store.put("other", "x", 3)).rejects.toThrow(RevisionConflict);
    expect(await store.get("k")).toEqual({ value: "2", revision: 2 });
    store.close();
  });

  it("tells watchers of each put until they stop", async () => {
    const store = make();
    const seen: string[] = [];
    const stop = store.watch("k", (entry) => seen.push(`${entry.value}@${entry.revision}`));
    await store.put("k", "a", 0);
    await store.put("other", "b", 0);
    await store.put("k", "c", 1);
    stop();
    await store.put("k", "d", 2);
    expect(seen).toEqual(["a@1", "c@2"]);
    store.close();
  });

  it("leases to one holder until the time is over", async () => {
    const store = make();
    expect(await store.lease("lead", "a", 100, 0)).toBe(true);
    expect(await store.lease("lead", "b", 100, 99)).toBe(false);
    expect(await store.lease("lead", "a", 100, 50)).toBe(true);
    expect(await store.lease("lead", "b", 100, 149)).toBe(false);
    expect(await store.lease("lead", "b", 100, 150)).toBe(true);
    store.close();
  });

  it("keeps the desired state, and gives every start a higher term", async () => {
    const store = make();
    const first = await DesiredStore.open(store, MESH);
    expect(first).toMatchObject({ term: 1, desired: emptyDesired });
    await first.stored.save({ ...emptyDesired, generation: 5 });
    const second = await DesiredStore.open(store, MESH);
    expect(second).toMatchObject({ term: 2, desired: { generation: 5 } });
    await second.stored.save({ ...emptyDesired, generation: 6 });
    await expect(first.stored.save(emptyDesired)).rejects.toThrow("another coordinator");
    store.close();
  });

  it("a run begins empty, goes on when it is started again, and leaves the mesh's state alone", async () => {
    const store = make();
    const mesh = await DesiredStore.open(store, MESH);
    await mesh.stored.save({ ...emptyDesired, generation: 7 });
    const run = await DesiredStore.open(store, { state: "run", again: false });
    expect(run.desired).toEqual({ ...emptyDesired, generation: 7 });
    const warnings = ["of the run"];
    const options = { ...emptyDesired.options, warnings };
    await run.stored.save({ ...emptyDesired, options, generation: 9 });
    expect((await DesiredStore.open(store, { state: "run", again: true })).desired).toMatchObject({
      generation: 9,
      options: { warnings },
    });
    expect((await DesiredStore.open(store, { state: "run", again: false })).desired).toEqual({
      ...emptyDesired,
      generation: 9,
    });
    expect((await DesiredStore.open(store, MESH)).desired).toEqual({ ...emptyDesired, generation: 9 });
    store.close();
  });

  it("takes over what an older Skein has stored: applications without keys stay open", async () => {
    const store = make();
    const { apiKeys: _later, ...first } = emptyDesired;
    await store.put("desired", JSON.stringify({ ...first, schema: 1, generation: 7 }), 0);
    expect((await DesiredStore.open(store, MESH)).desired).toEqual({ ...emptyDesired, generation: 7 });
    store.close();
  });

  it("a state of an unknown schema is refused, not guessed at", async () => {
    const store = make();
    await store.put("desired", JSON.stringify({ ...emptyDesired, schema: 99 }), 0);
    await expect(DesiredStore.open(store, MESH)).rejects.toThrow("schema 99");
    store.close();
  });
});

const MESH = { state: "mesh", again: false } as const;

describe("the file", () => {
  it("survives closing, is locked while open, and a newer layout is refused", async () => {
    const file = join(folder(), "state.db");
    const store = new SqliteStore(file);
    await store.put("k", "v", 0);
    expect(() => new SqliteStore(file)).toThrow("Another coordinator uses");
    store.close();
    const again = new SqliteStore(file);
    expect(await again.get("k")).toEqual({ value: "v", revision: 1 });
    again.close();
    const raw = new DatabaseSync(file);
    raw.exec("PRAGMA user_version = 42");
    raw.close();
    expect(() => new SqliteStore(file)).toThrow("written by a newer Skein (layout 42");
  });
});

describe("blobs", () => {
  const bytes = (...texts: string[]) =>
    (async function* () {
      for (const text of texts) yield new TextEncoder().encode(text);
    })();
  it("appear whole and verified, or not at all", async () => {
    const blobs = new FolderBlobs(folder(), () => Date.now());
    const hash = (await sha256Hex("hello world")) as Sha256;
    await expect(blobs.put(hash, bytes("hello", " wurld"))).rejects.toThrow(`not ${hash}`);
    expect(readdirSync(blobs.folder)).toEqual([]);
    await blobs.put(hash, bytes("hello", " world"));
    expect(await blobs.size(hash)).toBe(11);
    const part = [];
    for await (const piece of blobs.read(hash, 6, 10)) part.push(Buffer.from(piece).toString());
    expect(part.join("")).toBe("world");
  });
  it("have no other names than hashes", async () => {
    const blobs = new FolderBlobs(folder(), () => Date.now());
    for (const name of ["../secret", "..", "", "A".repeat(64)]) {
      expect(await blobs.size(name as Sha256)).toBeNull();
      await expect(blobs.put(name as Sha256, bytes("x"))).rejects.toThrow("SHA-256");
    }
  });
});

describe("blobs that nothing refers to", () => {
  const NOW = 1e12;
  const put = async (blobs: FolderBlobs, text: string, usedAtMs: number): Promise<string> => {
    const hash = (await sha256Hex(text)) as Sha256;
    const piece = new TextEncoder().encode(text);
    await blobs.put(
      hash,
      (async function* () {
        yield piece;
      })(),
    );
    utimesSync(join(blobs.folder, hash), usedAtMs / 1000, usedAtMs / 1000);
    return hash;
  };

  it("go a day after their last use; what is wanted, what still runs and what it names stay; not while recovering", async () => {
    const blobs = new FolderBlobs(folder(), () => NOW);
    const old = NOW - BLOB_GRACE_MS;
    const bundle = await put(blobs, "bundle", old);
    const wanted = await put(blobs, JSON.stringify({ bundles: { node: bundle } }), old);
    const oldBundle = await put(blobs, "old bundle", old);
    const running = await put(blobs, JSON.stringify({ any: ["form", oldBundle] }), old);
    const set = await put(blobs, "of the mesh that stays, while a run is in force", old);
    const unused = await put(blobs, "nobody's", old);
    const uploading = await put(blobs, "about to be named", NOW - BLOB_GRACE_MS + 1_000);
    const asked = (await put(blobs, "asked for", old)) as Sha256;
    expect(await blobs.size(asked)).toBe(9);
    const unfinished = join(blobs.folder, ".incoming-1");
    writeFileSync(unfinished, "half");
    utimesSync(unfinished, old / 1000, old / 1000);

    const codes = { 1: { artefact: running }, 2: { artefact: wanted } };
    const target = { artefact: wanted, deployments: { D: { codes } } };
    const others = [{ apps: { kept: { target: { artefact: set, deployments: {} } } } }] as unknown as DesiredState[];
    const state = {
      recovery: null,
      desired: { apps: { app: { target }, empty: { target: null } } },
    } as unknown as State;
    expect(await sweepBlobs(blobs, { ...state, recovery: { untilMs: NOW } }, others, NOW)).toBe(0);
    expect(readdirSync(blobs.folder)).toContain(unused);
    expect(await sweepBlobs(blobs, state, others, NOW)).toBe("nobody's".length + "half".length);
    expect(readdirSync(blobs.folder).sort()).toEqual(
      [bundle, wanted, oldBundle, running, uploading, asked, set].sort(),
    );
  });

  it("are chosen by the rule: never one in use or young, oldest first, no more than needed", () => {
    const blob = fc.record({ bytes: fc.nat(100), usedAtMs: fc.nat(100), used: fc.boolean() });
    fc.assert(
      fc.property(fc.array(blob), fc.nat(1_000), fc.nat(50), (list, bytesMax, graceMs) => {
        const blobs = list.map((b, i) => ({ ...b, name: String(i) }));
        const inUse = new Set(blobs.filter((b) => b.used).map((b) => b.name));
        const goes = new Set(superfluous(blobs, inUse, 100, { graceMs, bytesMax }));
        const sum = (of: typeof blobs): number => of.reduce((total, b) => total + b.bytes, 0);
        const stays = blobs.filter((b) => !goes.has(b));
        const free = (b: (typeof blobs)[number]): boolean => !b.used && 100 - b.usedAtMs >= graceMs;
        for (const gone of goes) {
          expect(free(gone as (typeof blobs)[number])).toBe(true);
          // Nothing that could go and was used earlier stays.
          expect(stays.some((b) => free(b) && b.usedAtMs < gone.usedAtMs)).toBe(false);
        }
        if (stays.some(free)) expect(sum(stays)).toBeLessThanOrEqual(bytesMax);
        const last = [...goes].at(-1);
        if (last !== undefined) expect(sum(stays) + last.bytes).toBeGreaterThan(bytesMax);
      }),
    );
  });
});

describe("keys", () => {
  it("stay with the data directory, readable for the owner only, and make the protocol's tickets", async () => {
    const place = folder();
    const signer = loadSigner(place);
    const claims = { use: "worker", kid: signer.kid, notAfter: 1_000, worker: "w", host: "h" } as const;
    const ticket = signer.sign(claims);
    expect(await verifyTicket(ticket, signer.keys, 1_000)).toEqual(claims);
    const again = loadSigner(place);
    expect(again.verify(ticket, 1_000)).toEqual(claims);
    expect(again.verify(ticket, 1_001)).toBeNull();
    expect(again.verify(`${ticket.slice(0, -4)}AAAA`, 0)).toBeNull();
    expect(loadSigner(folder()).verify(ticket, 0)).toBeNull();
    expect(statSync(join(place, "signing-key.pem")).mode & 0o777).toBe(0o600);
    const other = await generateKeys(signer.kid);
    expect(signer.verify(await signTicket(claims, other.privateKey), 0)).toBeNull();
  });
  it("and the admin token is made once", () => {
    const file = join(folder(), "admin-token");
    expect(readOrCreate(file, () => "first")).toBe("first");
    expect(readOrCreate(file, () => "second")).toBe("first");
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe("join tokens", () => {
  it("have uses and an end, can be revoked, and are stored as hashes only", async () => {
    const file = join(folder(), "state.db");
    const store = new SqliteStore(file);
    const tokens = await JoinTokens.open(store, false);
    const two = await tokens.create({ label: "two", ttlMs: 1_000, maxUses: 2, nowMs: 0 });
    expect([
      tokens.redeem(two.token, "h", 0),
      tokens.redeem(two.token, "h", 999),
      tokens.redeem(two.token, "h", 999),
    ]).toEqual([true, true, false]);
    const late = await tokens.create({ label: "late", ttlMs: 1_000, maxUses: 9, nowMs: 0 });
    expect(tokens.redeem(late.token, "h", 1_000)).toBe(false);
    const gone = await tokens.create({ label: "gone", ttlMs: 1_000, maxUses: 9, nowMs: 0 });
    expect(tokens.list(0).map((t) => t.label)).toEqual(["late", "gone"]);
    expect(await tokens.revoke(gone.id)).toBe(true);
    expect(tokens.redeem(gone.token, "h", 0)).toBe(false);
    expect(tokens.redeem("nonsense", "h", 0)).toBe(false);
    const again = await JoinTokens.open(store, false);
    expect(again.redeem(late.token, "h", 1)).toBe(true);
    store.close();
    expect(readFileSync(file).includes(late.token)).toBe(false);
  });
  it("of the parent are good on this host only, and new at every start", async () => {
    const tokens = await JoinTokens.open(new MemoryStore(), false);
    const local = tokens.local("here");
    expect([
      tokens.redeem(local, "here", 0),
      tokens.redeem(local, "there", 0),
      tokens.redeem(local, "here", 1e15),
    ]).toEqual([true, false, true]);
    expect(tokens.local("here")).not.toBe(local);
    expect(tokens.redeem(local, "here", 0)).toBe(false);
  });
  it("approval is waited for where it is required, but not by the coordinator's own worker", async () => {
    const tokens = await JoinTokens.open(new MemoryStore(), true);
    const local = tokens.local("here");
    expect([tokens.isLocal(local), tokens.isLocal(`${local}x`), tokens.isLocal("")]).toEqual([true, false, false]);
    expect(tokens.approval("w0", { host: "here", name: "n", own: true })).toBeNull();
    expect(tokens.approval("w1", { host: "here", name: "laptop", own: false })).toMatch("approval");
    expect(tokens.waiting()).toEqual([{ worker: "w1", name: "laptop", host: "here" }]);
    expect(await tokens.approve("w1")).toBe(true);
    expect(tokens.approval("w1", { host: "here", name: "laptop", own: false })).toBeNull();
    expect(await tokens.approve("w1")).toBe(false);
  });
});
