/**
 * A key and a self-signed certificate of this machine's own, kept in a folder: for listeners of a mesh whose diallers know the key's fingerprint.
 * The key stays for ever and the certificate is made again for it, so that links which are out keep their meaning.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SkeinError } from "../errors.ts";
import { CERTIFICATE_LIFETIME_MS, CERTIFICATE_RENEWED_MS } from "../limits.ts";

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** As in address.ts. */
  readonly fingerprint: string;
}

/** SHA-256 of the certificate's public key. */
export const fingerprintOf = (certificate: X509Certificate): string =>
  createHash("sha256")
    .update(certificate.publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");

/** Made when it is missing, not for the key, or soon expired. Throws INVALID_ARGUMENT for a key file that holds no key. */
export async function keptCertificate(folder: string, nowMs: number): Promise<Certificate> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const key = keptKey(join(folder, "tls-key.pem"));
  const file = join(folder, "tls-cert.pem");
  const old = readCertificate(file);
  if (old !== null && old.checkPrivateKey(createPrivateKey(key)) && isFresh(old, nowMs))
    return { cert: old.toString(), key, fingerprint: fingerprintOf(old) };
  const cert = await make(key, nowMs);
  const partial = `${file}.partial-${process.pid}`;
  writeFileSync(partial, cert);
  renameSync(partial, file);
  return { cert, key, fingerprint: fingerprintOf(new X509Certificate(cert)) };
}

function keptKey(file: string): string {
  const pem = read(file) ?? newKey(file);
  try {
    createPrivateKey(pem);
    return pem;
  } catch (cause) {
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `${file} holds no private key. Put it back, or delete it: a new one is made, and machines that have joined need a new join link.`,
      { cause },
    );
  }
}

function newKey(file: string): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  try {
    writeFileSync(file, pem, { flag: "wx", mode: 0o600 });
    return pem;
  } catch (thrown) {
    // Another process of this folder was quicker.
    const theirs = read(file);
    if (theirs === null) throw thrown;
    return theirs;
  }
}

function readCertificate(file: string): X509Certificate | null {
  try {
    return new X509Certificate(readFileSync(file));
  } catch {
    return null;
  }
}

function read(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw thrown;
  }
}

const isFresh = (certificate: X509Certificate, nowMs: number): boolean =>
  Date.parse(certificate.validFrom) <= nowMs && Date.parse(certificate.validTo) > nowMs + CERTIFICATE_RENEWED_MS;

async function make(key: string, nowMs: number): Promise<string> {
  // Loaded only here: it takes a tenth of a second, once a year.
  const { default: selfsigned } = await import("selfsigned");
  const { cert } = await selfsigned.generate([{ name: "commonName", value: "skein" }], {
    keyPair: {
      privateKey: key,
      publicKey: createPublicKey(key).export({ type: "spki", format: "pem" }) as string,
    },
    keyType: "ec",
    algorithm: "sha256",
    // Clocks of other machines may be behind.
    notBeforeDate: new Date(nowMs - CERTIFICATE_RENEWED_MS),
    notAfterDate: new Date(nowMs + CERTIFICATE_LIFETIME_MS),
  });
  return new X509Certificate(cert).toString();
}
