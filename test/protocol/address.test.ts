import { describe, expect, it } from "vitest";
import {
  endpoint,
  isExposed,
  isLoopback,
  joinLink,
  pinned,
  readAddress,
  readJoinAddress,
} from "../../protocol/address.ts";

const PIN = "0123456789abcdef".repeat(4);

describe("an address in a mesh", () => {
  it("carries whose key must answer, to every endpoint of the server", () => {
    const address = pinned("https://10.0.0.5:8266", PIN);
    expect(readAddress(address)).toEqual({ url: "https://10.0.0.5:8266", fingerprint: PIN });
    expect(endpoint(address, "ws", "/control")).toBe(`wss://10.0.0.5:8266/control#sha256=${PIN}`);
    expect(endpoint(address, "http", "/blobs/ab")).toBe(`https://10.0.0.5:8266/blobs/ab#sha256=${PIN}`);
    expect(endpoint("http://127.0.0.1:1/", "ws", "/x")).toBe("ws://127.0.0.1:1/x");
    expect(readAddress(pinned("ws://h/link", null))).toEqual({ url: "ws://h/link", fingerprint: null });
  });

  it("is refused where its check could not be made: never an unchecked connection instead", () => {
    for (const bad of [`https://h#sha256=${PIN.slice(1)}`, "https://h#sha256=", "https://h#", `https://h#${PIN}`])
      expect(() => readAddress(bad)).toThrow("64 hexadecimal digits");
    expect(() => readAddress(`ws://h#sha256=${PIN}`)).toThrow("must begin with https://");
  });
});

describe("a join link", () => {
  it("has token and fingerprint in the fragment, and comes back as it was made", () => {
    const link = joinLink(pinned("https://10.0.0.5:8266", PIN), "a-_Z");
    expect(link).toBe(`https://10.0.0.5:8266/join#token=a-_Z&sha256=${PIN}`);
    expect(readJoinAddress(link)).toEqual({ url: "https://10.0.0.5:8266", fingerprint: PIN, token: "a-_Z" });
    expect(joinLink("http://127.0.0.1:1", "t")).toBe("http://127.0.0.1:1/join#token=t");
  });

  it("may be less: a URL, a host, the token alone", () => {
    expect(readJoinAddress("wss://h:1/x")).toEqual({ url: "https://h:1", fingerprint: null, token: null });
    expect(readJoinAddress("h:1#tok")).toEqual({ url: "http://h:1", fingerprint: null, token: "tok" });
    expect(readJoinAddress(`https://h#sha256=${PIN}`)).toMatchObject({ fingerprint: PIN, token: null });
    for (const bad of ["ftp://h", "", "http://"])
      expect(() => readJoinAddress(bad)).toThrow("Not an address of a mesh");
    expect(() => readJoinAddress("https://h/join#token=t&sha256=cut")).toThrow("was the link copied whole?");
  });
});

it("what is plain between machines is exposed, what stays on one is not", () => {
  for (const url of ["http://10.0.0.5:1", "ws://box", "http://127.evil.example", "http://0.0.0.0"])
    expect([url, isExposed(url)]).toEqual([url, true]);
  for (const url of ["https://10.0.0.5", "wss://h", "http://127.0.0.1:1", "http://[::1]:1", "ws://localhost"])
    expect([url, isExposed(url)]).toEqual([url, false]);
  expect(isLoopback("127.0.0.1.example")).toBe(false);
});
