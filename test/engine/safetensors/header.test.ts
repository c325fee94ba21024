import fc from "../../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { CheckpointError } from "../../../engine/gguf/error.ts";
import { joinSources, sourceOfBytes } from "../../../engine/gguf/source.ts";
import { shardNames } from "../../../engine/safetensors/files.ts";
import { readSafetensorsHeader } from "../../../engine/safetensors/header.ts";
import { filesOf, makeTinyRepository, writeSafetensors } from "../../support/tiny-repository.ts";

const bytes = new Uint8Array(16);
const file = (change: (header: Record<string, unknown>) => void): Uint8Array =>
  writeSafetensors([{ name: "t", type: "F32", shape: [2, 2], bytes }], change);
const t = (changes: object) => (header: Record<string, unknown>) =>
  void (header["t"] = { ...(header["t"] as object), ...changes });
const read = (contents: Uint8Array) => readSafetensorsHeader(sourceOfBytes(contents), "model.safetensors");

test("a well-formed file gives its tensors, whatever their type", async () => {
  const contents = file(() => {});
  expect(Object.fromEntries(await read(contents))).toEqual({
    t: { type: "F32", shape: [2, 2], offset: contents.length - 16, byteLength: 16 },
  });
  const exotic = await read(file(t({ dtype: "F8_E4M3", shape: [16] })));
  expect(exotic.get("t")).toMatchObject({ type: "F8_E4M3" });
});

describe("a hostile file is refused, saying what is wrong", () => {
  const withLength = (length: bigint): Uint8Array => {
    const contents = file(() => {});
    new DataView(contents.buffer).setBigUint64(0, length, true);
    return contents;
  };
  test.each([
    ["empty", new Uint8Array(), /shorter than its header/],
    ["a header of 2^60 bytes", withLength(1n << 60n), /claims 1152921504606846976 bytes, more than the/],
    ["a header longer than the file", withLength(4000n), /claims 4000 bytes/],
    ["half a header", withLength(9n), /isn't JSON/],
    ["a list", writeSafetensors([], () => {}).fill(0x5b, 8), /isn't JSON/],
    ["no description", file((header) => (header["t"] = 3)), /"t" has no description/],
    ["no type", file(t({ dtype: 7 })), /no dtype/],
    ["a negative size", file(t({ shape: [-2, -2] })), /the shape \[-2,-2\]/],
    ["too many dimensions", file(t({ shape: Array.from({ length: 9 }, () => 1) })), /at most 8/],
    ["an end beyond the file", file(t({ data_offsets: [0, 17] })), /outside the file's 16 bytes/],
    ["an end before its start", file(t({ data_offsets: [8, 4] })), /outside/],
    ["no place", file(t({ data_offsets: "0" })), /outside/],
    ["a size that isn't the type's", file(t({ shape: [3] })), /3 F32 has 16 bytes/],
    [
      "an overlap",
      file((header) => (header["u"] = { dtype: "F32", shape: [1], data_offsets: [4, 8] })),
      /lies over another/,
    ],
  ])("%s", async (_, contents, message) => {
    const error: unknown = await read(contents).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(String(error)).toMatch(message);
  });

  test("whatever bytes are changed: it is read, or refused with a CheckpointError", async () => {
    const outcomes = { read: 0, refused: 0 };
    const good = file(() => {});
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 17), fc.uint8Array({ minLength: 1, maxLength: 3 }), async (at, changed) => {
        const contents = good.slice();
        contents.set(changed, at);
        try {
          await read(contents);
          outcomes.read++;
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
          outcomes.refused++;
        }
      }),
      { numRuns: 500 },
    );
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(0);
  });
});

test("an index may name no file outside the folder", async () => {
  const named = (name: unknown) => {
    const index = new Uint8Array(Buffer.from(JSON.stringify({ weight_map: { t: name } })));
    return shardNames(filesOf(new Map([["model.safetensors.index.json", index]])));
  };
  expect(await named("a-1.safetensors")).toEqual(["a-1.safetensors"]);
  for (const name of ["../x.safetensors", "/x.safetensors", "a/b.safetensors", ".x.safetensors", "x.bin", 7, null])
    await expect(named(name)).rejects.toThrow("not the name of a safetensors file");
  expect(await shardNames(filesOf(makeTinyRepository("llama").contents))).toEqual(["model.safetensors"]);
});

test("joined sources read as one", async () => {
  const joined = joinSources([Uint8Array.of(1, 2), Uint8Array.of(), Uint8Array.of(3, 4, 5)].map(sourceOfBytes));
  expect(joined.size).toBe(5);
  expect([...(await joined.read(0, 2)), ...(await joined.read(2, 2)), ...(await joined.read(4, 1))]).toEqual([
    1, 2, 3, 4, 5,
  ]);
  await expect(joined.read(1, 2)).rejects.toThrow(RangeError);
  await expect(joined.read(4, 2)).rejects.toThrow(RangeError);
});
