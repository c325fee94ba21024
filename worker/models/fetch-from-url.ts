/**
 * A model by its URL: what is on this disk, else that host. Redirects are followed by hand, so that no server can send this machine to
 * a host that isn't allowed; nothing secret is sent along.
 */
import { SkeinError } from "../../protocol/errors.ts";
import { download, rangesOf, type RemoteFile } from "./download.ts";
import { cancelled, requireOnline, requireSpace, sizeOnDisk } from "./failure.ts";
import type { FetchOptions } from "./fetch-repository.ts";
import { storeFile } from "./file-store.ts";
import { URL_FILE_MAX, URL_REDIRECTS_MAX } from "./limits.ts";
import { assertAllowed, type ModelUrl } from "./model-url.ts";
import { asking, PATIENT, statusWords } from "./patience.ts";
import { assertRunnableGguf } from "./runnable.ts";
import { noteStoredFile } from "./stored-models.ts";

/**
 * Errors: `PERMISSION_DENIED` a host that isn't allowed, `NOT_FOUND`, `UNAVAILABLE` it can't be reached now, `INVALID_ARGUMENT` other
 * content than its hash, `UNIMPLEMENTED` what the engine can't run, `CANCELLED`, `INTERNAL` full disk.
 */
export async function fetchFromUrl(model: ModelUrl, options: FetchOptions): Promise<{ path: string }> {
  const { url, sha256, extension } = model;
  const { modelHosts = [], onProgress = () => undefined, signal = new AbortController().signal } = options;
  const asker = { ...options, fetch: fetchAllowed(options.fetch, modelHosts), onProgress, signal };
  const path = await storeFile({ sha256, extension }, options, async ({ file: target, growing, partial }) => {
    assertAllowed(url, modelHosts);
    requireOnline(model.name, options);
    const file: RemoteFile = {
      url: url.href,
      headers: {},
      server: url.host,
      label: url.pathname,
      stage: "url",
      patience: PATIENT,
    };
    const bytes = await sizeOf(file, asking(PATIENT, asker), signal);
    if (extension === "gguf") await assertRunnableGguf(rangesOf(file, bytes, asker), model.name);
    await requireSpace(bytes - (await sizeOnDisk(partial)), growing, options.freeSpace);
    await download(file, { bytes, sha256 }, target, { ...asker, partial });
  });
  await noteStoredFile(path, { name: model.name, source: url.host });
  return { path };
}

/** A fetch that asks allowed hosts only, however often it is sent on. */
function fetchAllowed(fetch: typeof globalThis.fetch, hosts: readonly string[]): typeof globalThis.fetch {
  return async (input, init) => {
    let url = new URL(input instanceof Request ? input.url : input);
    for (let redirects = 0; redirects <= URL_REDIRECTS_MAX; redirects += 1) {
      assertAllowed(url, hosts);
      const response = await fetch(url.href, { ...init, redirect: "manual" });
      const location = [301, 302, 303, 307, 308].includes(response.status) && response.headers.get("location");
      if (!location) return response;
      await response.body?.cancel();
      if (!URL.canParse(location, url)) throw new SkeinError("UNAVAILABLE", `${url.host} redirects to what is no URL`);
      url = new URL(location, url);
    }
    throw new SkeinError("UNAVAILABLE", `${url.host} redirects more than ${URL_REDIRECTS_MAX} times`);
  };
}

/** Bytes of the file, as its server says: nothing else knows. */
async function sizeOf(file: RemoteFile, fetch: typeof globalThis.fetch, signal: AbortSignal): Promise<number> {
  const { server, label } = file;
  let response: Response;
  try {
    response = await fetch(file.url, {
      headers: { range: "bytes=0-0", "accept-encoding": "identity", ...file.headers },
      signal,
    });
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause;
    if (signal.aborted) throw cancelled(cause);
    throw new SkeinError("UNAVAILABLE", `${server} can't be reached to ask for ${label}`, { cause });
  }
  await response.body?.cancel();
  const { status, headers } = response;
  if (status === 404 || status === 410) throw new SkeinError("NOT_FOUND", `${server} has no ${label}`);
  if (status === 401 || status === 403)
    throw new SkeinError("PERMISSION_DENIED", `${server} gives ${label} not to everybody (status ${status})`);
  const total =
    status === 206 ? /\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1] : headers.get("content-length");
  if (status !== 200 && status !== 206)
    throw new SkeinError("UNAVAILABLE", `${server} ${statusWords(response)} for ${label}`);
  if (!total || !/^[1-9]\d{0,15}$/.test(total))
    throw new SkeinError("UNAVAILABLE", `${server} doesn't say how large ${label} is`);
  if (Number(total) > URL_FILE_MAX)
    throw new SkeinError("INVALID_ARGUMENT", `${label} of ${server} has ${total} bytes, more than ${URL_FILE_MAX}`);
  return Number(total);
}
