import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { canonicalJson, sha256Hex } from "../../protocol/artefact.ts";
import { parseFromCoordinator, parseToCoordinator } from "../../protocol/control.ts";
import { checkCompatible, pack, unpack } from "../../protocol/heads.ts";
import { compareVersions, deploymentId, deploymentOf, replicaId, splitId } from "../../protocol/ids.ts";
import { CONTROL_MESSAGE_MAX } from "../../protocol/limits.ts";
import { ERROR_CODES, OUTSIDE, SkeinError } from "../../protocol/errors.ts";

describe("control messages", () => {
  it("are read back", () => {
    expect(parseToCoordinator('{"type":"pong"}')).toEqual({ type: "pong" });
    expect(parseFromCoordinator('{"type":"ping"}')).toEqual({ type: "ping" });
  });

  it.each([
    ["not JSON", "{", "is not JSON"],
    ["of no known type", '{"type":"hm"}', "is not valid at type"],
    ["with a field missing", '{"type":"leave"}', "is not valid at reason"],
    ["with a field too many", '{"type":"pong","x":1}', "Unrecognized key"],
    ["of another kind than object", "[]", "is not valid at its root"],
    ["that are too long", " ".repeat(CONTROL_MESSAGE_MAX + 1), "the limit is"],
  ])("%s are refused", (_name, message, why) => {
    expect(() => parseToCoordinator(message)).toThrow(why);
  });

  it("never crash on any JSON", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          parseFromCoordinator(text);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: "PROTOCOL" });
        }
      }),
    );
  });
});

describe("ids and versions", () => {
  it("split as they were joined", () => {
    const id = replicaId(deploymentId("app", "Dep"), "abc");
    expect(splitId(id)).toEqual({ app: "app", deployment: "Dep", suffix: "abc" });
    expect(deploymentOf(id)).toBe("app#Dep");
  });

  it("a later term beats any revision", () => {
    expect(compareVersions({ term: 2, revision: 0 }, { term: 1, revision: 99 })).toBeGreaterThan(0);
    expect(compareVersions({ term: 1, revision: 3 }, { term: 1, revision: 4 })).toBeLessThan(0);
  });

  it("protocol versions overlap or the right side is told to upgrade", () => {
    expect(() => checkCompatible({ min: 1, max: 2 }, { min: 2, max: 3, build: "b" })).not.toThrow();
    expect(() => checkCompatible({ min: 3, max: 4 }, { min: 1, max: 2, build: "b" })).toThrow("upgrade the peer");
    expect(() => checkCompatible({ min: 1, max: 2 }, { min: 3, max: 4, build: "b" })).toThrow("upgrade this side");
  });
});

describe("packed values", () => {
  it("give byte arrays of their own: a view would show the rest of the message", () => {
    const packed = pack([new Uint8Array([1, 2, 3])]);
    const message = new Uint8Array(4096);
    message.set(packed, 100);
    const [bytes] = unpack(message.subarray(100, 100 + packed.byteLength)) as [Uint8Array];
    expect([...bytes]).toEqual([1, 2, 3]);
    expect(bytes.buffer.byteLength).toBe(3);
  });
});

describe("errors", () => {
  it("each code has a meaning outside", () => {
    for (const code of ERROR_CODES) expect(OUTSIDE[code].http).toBeGreaterThanOrEqual(400);
  });
  it("keep the cause and bound the message", () => {
    const error = SkeinError.from(new Error("x".repeat(100_000)));
    expect(error.code).toBe("INTERNAL");
    expect(error.message.length).toBeLessThan(20_000);
    expect(SkeinError.from(error)).toBe(error);
    expect(SkeinError.from("thrown text", "APPLICATION_ERROR")).toMatchObject({
      code: "APPLICATION_ERROR",
      message: "thrown text",
    });
  });
});

describe("canonical JSON", () => {
  it("is the same for equal values, whatever their keys' order", async () => {
    expect(canonicalJson({ b: [1, { d: undefined, c: "x" }], a: null })).toBe('{"a":null,"b":[1,{"c":"x"}]}');
    expect(await sha256Hex("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});
