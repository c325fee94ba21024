/**
 * Whether the mesh port has TLS, and whose: the certificate that it was given, or off loopback one of its own. Plain connections between
 * machines only by `--insecure`.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isExposed, isLoopback, pinned } from "../protocol/address.ts";
import { EXIT, SkeinError } from "../protocol/errors.ts";
import type { CoordinatorOptions } from "../protocol/local.ts";
import { fingerprintOf, keptCertificate, type Certificate } from "../protocol/node/certificate.ts";

export interface MeshTls extends Certificate {
  /** Nobody that others trust has signed it: join links must say whose key it is. */
  readonly selfSigned: boolean;
}

/** An error whose exit code the command passes on. */
export class StartFailed extends Error {
  readonly exit: number;
  constructor(exit: number, message: string) {
    super(message);
    this.exit = exit;
  }
}

type MeshListener = CoordinatorOptions["mesh"];

/** @param folder where a certificate of its own is kept. @returns null: plain. @throws StartFailed (usage), SkeinError */
export async function meshTls(mesh: MeshListener, folder: string, nowMs: number): Promise<MeshTls | null> {
  const exposed = mesh.insecure ? undefined : mesh.advertise.find(isExposed);
  if (exposed !== undefined)
    throw new StartFailed(
      EXIT.usage,
      `--advertise ${exposed} is without encryption: everyone on the way could read it. Write https:// (the mesh makes a certificate of its own), or allow it with --insecure.`,
    );
  if (mesh.cert !== undefined && mesh.key !== undefined) return given(mesh.cert, mesh.key);
  if (isLoopback(mesh.host) || mesh.insecure) return null;
  return { ...(await keptCertificate(folder, nowMs)), selfSigned: true };
}

/** What others dial at, each with the fingerprint if they need it. */
export const advertisedAddresses = (urls: readonly string[], tls: MeshTls | null): string[] =>
  urls.map((url) => (tls?.selfSigned === true && url.startsWith("https:") ? pinned(url, tls.fingerprint) : url));

function given(certFile: string, keyFile: string): MeshTls {
  const cert = pem("--cert", certFile);
  const key = pem("--key", keyFile);
  let certificate: X509Certificate;
  let matches: boolean;
  try {
    certificate = new X509Certificate(cert);
    matches = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new SkeinError("INVALID_ARGUMENT", `${certFile} and ${keyFile} must be a certificate and its key, as PEM.`, {
      cause,
    });
  }
  if (!matches)
    throw new SkeinError("INVALID_ARGUMENT", `The key in ${keyFile} is not the one of the certificate in ${certFile}.`);
  return { cert, key, fingerprint: fingerprintOf(certificate), selfSigned: certificate.verify(certificate.publicKey) };
}

function pem(option: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new SkeinError("INVALID_ARGUMENT", `${option}: can't read ${file}: ${(cause as Error).message}.`, { cause });
  }
}
