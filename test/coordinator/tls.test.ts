import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { endpoint, readAddress, readJoinAddress } from "../../protocol/address.ts";
import { keptCertificate } from "../../protocol/node/certificate.ts";
import { dial } from "../../protocol/node/dial.ts";
import { advertisedAddresses, meshTls } from "../../coordinator/tls.ts";
import { signed } from "../support/authority.ts";
import { Peer, startReal } from "./real.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-tls-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const plain = { port: 0, advertise: [], insecure: false };
const tls = (mesh: Partial<Parameters<typeof meshTls>[0]>, name = "own") =>
  meshTls({ host: "0.0.0.0", ...plain, ...mesh }, join(folder, name), Date.now());

function files(name: string, { cert, key }: { cert: string; key: string }): { cert: string; key: string } {
  const paths = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  writeFileSync(paths.cert, cert);
  writeFileSync(paths.key, key);
  return paths;
}
const own = (name: string) => keptCertificate(join(folder, "made", name), Date.now());

describe("TLS of the mesh port", () => {
  it("is its own off loopback, and none on loopback or where it was allowed", async () => {
    const made = await tls({});
    expect(made).toMatchObject({ selfSigned: true });
    expect((await tls({}))?.cert).toBe(made?.cert);
    expect(await tls({ host: "127.0.0.1" })).toBeNull();
    expect(await tls({ insecure: true })).toBeNull();
    expect(advertisedAddresses(["https://10.0.0.5:8266"], made)).toEqual([
      `https://10.0.0.5:8266#sha256=${made?.fingerprint}`,
    ]);
  });

  it("is never left out by a plain address", async () => {
    for (const host of ["0.0.0.0", "127.0.0.1"])
      await expect(tls({ host, advertise: ["https://a", "http://10.0.0.5:8266"] })).rejects.toMatchObject({
        exit: 2,
        message: expect.stringMatching(/^--advertise http:\/\/10.0.0.5:8266 is without encryption/),
      });
    expect(await tls({ insecure: true, advertise: ["http://10.0.0.5:8266"] })).toBeNull();
  });

  it("with a signed certificate needs no fingerprint in links; with one that signed itself it does", async () => {
    const trusted = await tls(files("signed", await signed("mesh.example")));
    expect(trusted?.selfSigned).toBe(false);
    expect(advertisedAddresses(["https://mesh.example"], trusted)).toEqual(["https://mesh.example"]);
    const itself = await tls(files("itself", await own("itself")));
    expect(advertisedAddresses(["https://h"], itself)).toEqual([`https://h#sha256=${itself?.fingerprint}`]);
  });

  it("says which file is wrong", async () => {
    const [one, two] = [files("one", await own("one")), files("two", await own("two"))];
    await expect(tls({ cert: one.cert, key: two.key })).rejects.toThrow("is not the one of the certificate");
    await expect(tls({ cert: one.key, key: one.key })).rejects.toThrow("must be a certificate and its key, as PEM");
    await expect(tls({ cert: "/nowhere.pem", key: one.key })).rejects.toThrow("--cert: can't read /nowhere.pem");
  });
});

it("a coordinator off loopback serves with TLS only, its links say whose key it is, and it has the same after a restart", async () => {
  const options = { mesh: { host: "0.0.0.0", ...plain, advertise: ["https://10.0.0.5:8266"] } };
  const real = await startReal(options);
  const { meshUrl } = real.ready;
  const made = (await (await real.call("/api/skein/join-tokens", { method: "POST", body: "{}" })).json()) as {
    token: string;
    url: string;
    link: string;
  };
  const { fingerprint } = readAddress(meshUrl);
  expect(readJoinAddress(made.link)).toEqual({ url: "https://10.0.0.5:8266", fingerprint, token: made.token });
  expect(made.url).toBe("https://10.0.0.5:8266");
  const { url, options: checks } = dial(endpoint(meshUrl, "http", "/blobs/x"));
  const status = await new Promise((resolve, reject) =>
    get(url, checks, (response) => resolve(response.resume().statusCode)).on("error", reject),
  );
  expect(status).toBe(401);
  await expect(new Peer(readAddress(meshUrl).url.replace("https", "http")).open()).rejects.toThrow();
  await real.stop();
  const again = await startReal({ ...options, dataDir: real.dataDir });
  expect(readAddress(again.ready.meshUrl).fingerprint).toBe(fingerprint);
  await again.stop();
});
