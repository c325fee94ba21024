import { describe, expect, test } from "vitest";
import { joinFragment, readJoinLink } from "../../../worker/browser/join-link.ts";

const PLAIN = { name: "browser", device: "auto", allowSoftwareGpu: false, cpus: null, gpus: null, resources: {} };

describe("the fragment of a join link", () => {
  test("is the token alone, or the token and wishes", () => {
    expect(readJoinLink("#abc-123_x")).toEqual({ token: "abc-123_x", options: PLAIN });
    expect(readJoinLink("#token=abc")).toEqual({ token: "abc", options: PLAIN });
    expect(readJoinLink("")).toEqual({ token: "", options: PLAIN });
  });

  test("comes back as it was written", () => {
    const wishes = {
      name: "a & b = c",
      device: "wasm",
      allowSoftwareGpu: true,
      cpus: 2.5,
      gpus: 0,
      resources: { "sc an": 1 },
    } as const;
    expect(readJoinLink(joinFragment({ joinToken: "t&=%", ...wishes }))).toEqual({ token: "t&=%", options: wishes });
  });

  test("holds nothing that a stranger could make use of: what makes no sense is not taken", () => {
    const { options } = readJoinLink(
      `#token=x&device=native&cpus=-1&gpus=much&resources=${encodeURIComponent('{"a":"1","b":2}')}&name=${"n".repeat(300)}`,
    );
    expect(options).toEqual({ ...PLAIN, name: "n".repeat(200), resources: { b: 2 } });
    expect(readJoinLink("#token=x&resources=%7B").options.resources).toEqual({});
  });
});
