/** Manifests and bundles of applications in a tab: fetched from the mesh by SHA-256, verified, kept as blob URLs that replicas import. */
import { manifestSchema, sha256Hex, type Manifest } from "../../protocol/artefact.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { BLOB_TIMEOUT_MS, BUNDLES_MAX } from "./limits.ts";

export class TabBundles {
  readonly #origin: string;
  readonly #urls = new Map<string, Promise<string>>();

  constructor(origin: string) {
    this.#origin = origin;
  }

  async manifest(artefact: string, ticket: string): Promise<Manifest> {
    const parsed = manifestSchema.safeParse(JSON.parse(new TextDecoder().decode(await this.#fetch(artefact, ticket))));
    if (!parsed.success)
      throw new SkeinError(
        "INCOMPATIBLE",
        `The application's manifest ${artefact.slice(0, 12)} has a form that this worker doesn't know; reload the page.`,
      );
    return parsed.data;
  }

  /** Blob URL of the browser bundle. Replicas that start together share it. */
  url({ bundles, importPath }: Manifest, ticket: string): Promise<string> {
    const sha256 = bundles.browser;
    if (sha256 === null)
      return Promise.reject(
        new SkeinError(
          "INVALID_ARGUMENT",
          `'${importPath}' can't run in a browser: ${bundles.browserReason ?? "its code needs Node"}`,
        ),
      );
    let url = this.#urls.get(sha256);
    if (url === undefined) {
      url = this.#fetch(sha256, ticket).then((bytes) =>
        URL.createObjectURL(new Blob([bytes], { type: "text/javascript" })),
      );
      this.#urls.set(sha256, url);
      url.catch(() => this.#urls.delete(sha256));
      this.#forgetOldest();
    }
    return url;
  }

  #forgetOldest(): void {
    const [oldest] = this.#urls;
    if (this.#urls.size <= BUNDLES_MAX || oldest === undefined) return;
    this.#urls.delete(oldest[0]);
    oldest[1].then(
      (url) => URL.revokeObjectURL(url),
      () => {},
    );
  }

  async #fetch(sha256: string, ticket: string): Promise<Uint8Array<ArrayBuffer>> {
    const unavailable = (why: string): SkeinError =>
      new SkeinError("UNAVAILABLE", `The application's code could not be fetched from ${this.#origin}: ${why}.`);
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      const answer = await fetch(`${this.#origin}/blobs/${encodeURIComponent(sha256)}`, {
        headers: { authorization: `Bearer ${ticket}` },
        signal: AbortSignal.timeout(BLOB_TIMEOUT_MS),
      });
      if (!answer.ok) throw unavailable(`it answered ${answer.status}`);
      bytes = new Uint8Array(await answer.arrayBuffer());
    } catch (thrown) {
      throw thrown instanceof SkeinError
        ? thrown
        : unavailable(thrown instanceof Error ? thrown.message : String(thrown));
    }
    if ((await sha256Hex(bytes)) !== sha256)
      throw new SkeinError("PROTOCOL", `The mesh sent other content than ${sha256.slice(0, 12)} asks for.`);
    return bytes;
  }
}
