/**
 * Handle calls of a script: over data links to the ingresses, with a caller's ticket, as a replica makes them.
 * Links are up while calls are, and a moment longer: a script that has nothing left to do must be able to end.
 */
import { randomUUID } from "node:crypto";
import type { IngressAddress } from "../../protocol/control.ts";
import type { Link } from "../../protocol/link.ts";
import type { Call, Caller } from "../../serve/handle.ts";
import { LinkCaller } from "../replica/caller.ts";
import { IngressLink } from "../replica/ingress-link.ts";
import { nodeReplicaPlatform } from "./replica-platform.ts";

/** The next call of a loop comes within this, ms. */
const LINGER_MS = 250;
/** Pings are looked after this often, ms. */
const TICK_MS = 250;

export interface CallerCredentials {
  readonly ticket: string;
  readonly ingresses: readonly IngressAddress[];
}

export class ScriptCaller implements Caller {
  readonly #credentials: () => Promise<CallerCredentials>;
  readonly #build: string;
  #open: Promise<OpenLinks> | undefined;
  #calls = 0;
  #lingering: NodeJS.Timeout | undefined;

  /** `credentials` is asked whenever links are dialled. */
  constructor(credentials: () => Promise<CallerCredentials>, build: string) {
    this.#credentials = credentials;
    this.#build = build;
  }

  async unary(call: Call): Promise<unknown> {
    const links = await this.#enter();
    try {
      return await links.caller.unary(call);
    } finally {
      this.#leave();
    }
  }

  async *stream(call: Call): AsyncGenerator<unknown> {
    const links = await this.#enter();
    try {
      yield* links.caller.stream(call);
    } finally {
      this.#leave();
    }
  }

  async #enter(): Promise<OpenLinks> {
    clearTimeout(this.#lingering);
    this.#calls += 1;
    try {
      this.#open ??= this.#credentials().then((credentials) => new OpenLinks(credentials, this.#build));
      return await this.#open;
    } catch (error) {
      this.#open = undefined;
      this.#calls -= 1;
      throw error;
    }
  }

  #leave(): void {
    this.#calls -= 1;
    if (this.#calls > 0) return;
    this.#lingering = setTimeout(() => {
      void this.#open?.then((links) => links.close());
      this.#open = undefined;
    }, LINGER_MS);
  }
}

class OpenLinks {
  readonly caller: LinkCaller;
  readonly #links: readonly IngressLink[];
  readonly #ticking: NodeJS.Timeout;
  #waiters: (() => void)[] = [];

  constructor({ ticket, ingresses }: CallerCredentials, build: string) {
    const platform = nodeReplicaPlatform(() => {});
    const owner = {
      platform,
      build,
      ticket: () => ticket,
      load: () => 0,
      onStream: (_link: IngressLink, stream: { fail(fail: { code: "UNIMPLEMENTED"; message: string }): void }) => {
        stream.fail({ code: "UNIMPLEMENTED", message: "A script serves nothing." });
        return {};
      },
      onChange: () => this.#waiters.splice(0).forEach((wake) => wake()),
    };
    this.#links = ingresses.map((address) => new IngressLink(owner, address));
    this.#ticking = setInterval(() => this.#links.forEach((link) => link.tick(platform.now())), TICK_MS);
    this.caller = new LinkCaller({
      pick: () => this.#links.map((link) => link.ready).find((link): link is Link => link !== undefined),
      changed: (ms) =>
        new Promise((resolve) => {
          const stop = platform.after(ms, resolve);
          this.#waiters.push(() => {
            stop();
            resolve();
          });
        }),
      now: () => platform.now(),
      requestId: () => randomUUID(),
    });
  }

  close(): void {
    clearInterval(this.#ticking);
    for (const link of this.#links) link.close(1000, "The script has no calls left.");
  }
}
