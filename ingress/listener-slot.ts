/**
 * One listener for clients (HTTP or gRPC) and its changes: the newest wish is bound, a busy port is tried again, the old listener drains.
 * Knows no protocol; how to listen is an argument.
 */
import { SkeinError } from "../protocol/errors.ts";
import type { ClientListener } from "./http/listener.ts";

/** What a change of the listener gives to requests of the old one, ms. */
const CHANGE_DRAIN_MS = 30_000;

export class ListenerSlot {
  listener: ClientListener | null = null;
  /** Why the wished listener isn't there. */
  error: string | null = null;
  lastPort: number | null = null;
  /** What the listener was made from: a wish for the same is no change. */
  #options: unknown = null;
  #made = "";
  /** The same with the port that "any" has become: a wish for that one is no change either. */
  #bound = "";

  get wanted(): boolean {
    return this.#options !== null;
  }

  /** A wish for port 0 takes the port that there was before, if it can be had. Never rejects: see `error`. */
  async use<O extends { readonly port: number }>(
    options: O | null,
    key: unknown,
    listen: (options: O) => Promise<ClientListener>,
  ): Promise<void> {
    const made = options === null ? "" : JSON.stringify([options, key]);
    if ((made === this.#made || made === this.#bound) && this.error === null) return;
    const old = this.listener;
    this.listener = null;
    // The same port can't be had before the old listener has let go of it: accepting stops at once, draining goes on.
    void old?.close(CHANGE_DRAIN_MS);
    this.#options = options;
    this.#made = this.#bound = made;
    this.error = null;
    if (options === null) return;
    try {
      const again =
        options.port === 0 && this.lastPort !== null
          ? await listen({ ...options, port: this.lastPort }).catch(() => null)
          : null;
      this.listener = again ?? (await listen(options));
      this.lastPort = this.listener.port;
      this.#bound = JSON.stringify([{ ...options, port: this.lastPort }, key]);
    } catch (thrown) {
      this.error = SkeinError.from(thrown).message;
    }
  }

  get address(): { host: string; port: number } | null {
    return this.listener === null ? null : { host: this.listener.host, port: this.listener.port };
  }
}
