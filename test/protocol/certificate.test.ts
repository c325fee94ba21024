import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CERTIFICATE_LIFETIME_MS } from "../../protocol/limits.ts";
import { fingerprintOf, keptCertificate } from "../../protocol/node/certificate.ts";

const NOW = Date.parse("2030-01-01T00:00:00Z");
let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "skein-certificate-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("a kept certificate", () => {
  it("is the same after a restart, and its key is for its owner only", async () => {
    const first = await keptCertificate(folder, NOW);
    const again = await keptCertificate(folder, NOW + 1000);
    expect(again).toEqual(first);
    expect(statSync(join(folder, "tls-key.pem")).mode & 0o777).toBe(0o600);
    const certificate = new X509Certificate(first.cert);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(fingerprintOf(certificate)).toBe(first.fingerprint);
    expect(first.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it("is made anew when it is about to expire, for the same key: links that are out go on to hold", async () => {
    const first = await keptCertificate(folder, NOW);
    const later = NOW + CERTIFICATE_LIFETIME_MS - 1000;
    const renewed = await keptCertificate(folder, later);
    expect(renewed.cert).not.toBe(first.cert);
    expect(Date.parse(new X509Certificate(renewed.cert).validTo)).toBeGreaterThan(later);
    expect(renewed.fingerprint).toBe(first.fingerprint);
    expect(readFileSync(join(folder, "tls-cert.pem"), "utf8")).toBe(renewed.cert);
  });

  it("is made anew when it is not the key's or can't be read", async () => {
    const first = await keptCertificate(folder, NOW);
    const other = await keptCertificate(join(folder, "other"), NOW);
    expect(other.fingerprint).not.toBe(first.fingerprint);
    for (const content of [other.cert, "spoilt"]) {
      writeFileSync(join(folder, "tls-cert.pem"), content);
      expect((await keptCertificate(folder, NOW)).fingerprint).toBe(first.fingerprint);
    }
  });

  it("says what to do when the key's file is broken, and doesn't replace it by itself", async () => {
    writeFileSync(join(folder, "tls-key.pem"), "spoilt");
    await expect(keptCertificate(folder, NOW)).rejects.toThrow(
      "tls-key.pem holds no private key. Put it back, or delete",
    );
    expect(readFileSync(join(folder, "tls-key.pem"), "utf8")).toBe("spoilt");
  });
});
