/**
 * Models named by a URL: what a name means, and which hosts may be asked. Pure; asks nobody.
 * Applications name models and workers fetch them, so a URL reaches only hosts that whoever runs the worker has listed.
 */
import { SkeinError } from "../../protocol/errors.ts";
import { findHubModel, HUB_ENDPOINT } from "./catalogue.ts";
import { parseHubName } from "./hub-listing.ts";
import { MODEL_URL_MAX } from "./limits.ts";

/** One file of a web server, known by its hash. */
export interface ModelUrl {
  /** In the one form that the same file always has. */
  readonly name: string;
  /** Without the fragment. */
  readonly url: URL;
  /** Hex, in lower case. */
  readonly sha256: string;
  readonly extension: "gguf" | "onnx";
}

const FORM = "https://host/path/model.gguf#sha256=<64 hexadecimal digits>";

/** Whether a name is a URL, of the hub or of another host, allowed or not. */
export const isModelUrl = (name: string): boolean => /^https?:/i.test(name);

/**
 * The one name by which a model is known: a URL of a file in the hub is the hub's own name of it, so is a short name for one, any other URL is spelt as browsers
 * would; other names are themselves. Throws `INVALID_ARGUMENT` for a URL that names no model.
 */
export function canonicalName(name: string, hubEndpoint: string = HUB_ENDPOINT): string {
  if (!isModelUrl(name)) return findHubModel(name)?.hub ?? name;
  const url = parse(name);
  return hubNameOf(url, [HUB_ENDPOINT, hubEndpoint]) ?? modelUrlOf(url).name;
}

/** Parts of a canonical name that is a URL; undefined for other names. */
export const parseModelUrl = (name: string): ModelUrl | undefined =>
  isModelUrl(name) ? modelUrlOf(parse(name)) : undefined;

function parse(name: string): URL {
  if (name.length > MODEL_URL_MAX) throw wrong(`a URL has at most ${MODEL_URL_MAX} characters`);
  if (!URL.canParse(name)) throw wrong(`"${name.slice(0, 100)}" is no URL`);
  const url = new URL(name);
  assertPlain(url);
  return url;
}

/** `hf:owner/repository[@revision]:file` for `<hub>/owner/repository/{resolve,blob}/<revision>/<file>`; undefined for other hosts. */
function hubNameOf(url: URL, endpoints: readonly string[]): string | undefined {
  for (const endpoint of endpoints.filter((text) => URL.canParse(text)).map((text) => new URL(text))) {
    const below = `${endpoint.pathname.replace(/\/+$/, "")}/`;
    if (url.host !== endpoint.host || !url.pathname.startsWith(below)) continue;
    if (url.hash !== "") throw wrong(`leave "${url.hash.slice(0, 20)}" out: the hub tells the hashes of its files`);
    const parts = /^([^/]+\/[^/]+)\/(?:resolve|blob)\/([^/]+)\/(.+)$/.exec(url.pathname.slice(below.length));
    if (parts === null)
      throw wrong(
        `${url.host} is a hub: name a file by ${endpoint.origin}${below}owner/repository/resolve/main/model.gguf, or the whole by hf:owner/repository`,
      );
    const [, repository, revision, file] = parts;
    const name = `hf:${repository}${revision === "main" ? "" : `@${revision}`}:${file}`;
    parseHubName(name);
    return name;
  }
  return undefined;
}

function modelUrlOf(given: URL): ModelUrl {
  const extension = /\.(gguf|onnx)$/i.exec(given.pathname)?.[1]?.toLowerCase();
  if (extension !== "gguf" && extension !== "onnx")
    throw wrong(`${given.host}${given.pathname.slice(0, 100)} is no .gguf or .onnx file`);
  // It would be read in lists, logs and status pages; what is secret in a query must not be.
  if (given.search !== "") throw wrong("leave what follows the question mark out");
  if (given.hash === "") throw wrong(`add "#sha256=" and the file's SHA-256: no other content is accepted`);
  const sha256 = /^#sha256=([0-9a-f]{64})$/i.exec(given.hash)?.[1]?.toLowerCase();
  if (sha256 === undefined) throw wrong(`"${given.hash.slice(0, 80)}" is no SHA-256`);
  const url = new URL(given);
  url.hash = "";
  return { name: `${url.href}#sha256=${sha256}`, url, sha256, extension };
}

/** Throws `PERMISSION_DENIED` for what may not be asked. `hosts` as in `SKEIN_MODEL_HOSTS`; a host without a port is its port 443. */
export function assertAllowed(url: URL, hosts: readonly string[]): void {
  assertPlain(url);
  if (hosts.map(hostOf).includes(url.host)) return;
  throw new SkeinError(
    "PERMISSION_DENIED",
    `models may not come from ${url.host}: whoever runs this worker (for tabs: the coordinator) may add it to SKEIN_MODEL_HOSTS in its environment`,
  );
}

function assertPlain(url: URL): void {
  if (url.protocol !== "https:") throw wrong(`${url.protocol} is not taken, only https:`);
  if (url.username !== "" || url.password !== "") throw wrong("a URL of a model has no user and no password");
}

/** As a URL has it. Throws `INVALID_ARGUMENT` for an entry that could never match. */
function hostOf(entry: string): string {
  const url = URL.canParse(`https://${entry}`) ? new URL(`https://${entry}`) : undefined;
  if (url === undefined || /[/\\?#@*\s]/.test(entry))
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `SKEIN_MODEL_HOSTS: "${entry.slice(0, 100)}" is no host: list hosts such as models.example.com or 192.0.2.1:8443, with commas between`,
    );
  return url.host;
}

/** Entries of `SKEIN_MODEL_HOSTS`; not set, empty and `none` are none. */
export function readModelHosts(text: string | undefined): string[] {
  const entries = (text ?? "").split(",").map((entry) => entry.trim());
  return entries.filter((entry) => entry !== "" && entry !== "none");
}

const wrong = (why: string): SkeinError =>
  new SkeinError("INVALID_ARGUMENT", `this names no model: ${why}. A model by URL is ${FORM}`);
