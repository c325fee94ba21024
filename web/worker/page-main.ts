/**
 * The page that makes a tab a worker: takes the join token out of the address, starts the agent's Web Worker, shows what it says.
 * Who this tab is stays in its session storage, so that a reload is the same worker; a copy of the tab becomes one of its own.
 */
import type { FromAgent, TabIdentity, ToAgent } from "../../worker/browser/tab.ts";
import { readJoinLink } from "../../worker/browser/join-link.ts";

/** Set by a program that drives this page (worker/browser/launcher-main.ts). */
declare global {
  var skeinLauncher: ((message: FromAgent) => void) | undefined;
  var skeinLeave: (reason: string) => Promise<void>;
}

const STORED_LINK = "skein.link";
const STORED_IDENTITY = "skein.identity";

const element = (id: string): HTMLElement => document.getElementById(id)!;
const show = (text: string, kind: "" | "ok" | "bad" = ""): void => {
  element("state").textContent = text;
  element("state").className = kind;
};

/** The link is kept for a reload of this tab; in the address it would end up in histories and on screens. */
function takeFragment(): string {
  if (location.hash.length > 1) sessionStorage.setItem(STORED_LINK, location.hash);
  history.replaceState(null, "", location.pathname);
  return sessionStorage.getItem(STORED_LINK) ?? "";
}

/** As stored, unless another tab is that worker already: a duplicated tab has a copy of the storage. The lock is held for the life of the page. */
async function takeIdentity(): Promise<TabIdentity> {
  const stored = JSON.parse(sessionStorage.getItem(STORED_IDENTITY) ?? "null") as TabIdentity | null;
  const kept = stored !== null && (await lock(stored.workerId)) ? stored : null;
  const workerId = kept?.workerId ?? `worker-${crypto.randomUUID()}`;
  if (kept === null) await lock(workerId);
  const identity: TabIdentity = {
    workerId,
    hostId: kept?.hostId ?? `browser-${workerId}`,
    incarnation: Math.max(Date.now(), (kept?.incarnation ?? 0) + 1),
    ticket: kept?.ticket ?? null,
  };
  sessionStorage.setItem(STORED_IDENTITY, JSON.stringify(identity));
  return identity;
}

function lock(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    void navigator.locks.request(name, { ifAvailable: true }, (held) => {
      resolve(held !== null);
      // A page that holds a lock isn't frozen in the background either.
      return held === null ? undefined : new Promise<never>(() => {});
    });
  });
}

function showReplicas(replicas: Extract<FromAgent, { type: "replicas" }>["replicas"]): void {
  document.querySelector("table")!.hidden = replicas.length === 0;
  element("replicas").replaceChildren(
    ...replicas.map(({ replica, state, progress, ongoing }) => {
      const row = document.createElement("tr");
      for (const text of [replica, progress === "" ? state : `${state}: ${progress}`, String(ongoing)])
        row.insertCell().textContent = text;
      return row;
    }),
  );
}

async function start(): Promise<void> {
  const link = readJoinLink(takeFragment());
  if (!isSecureContext)
    return show(
      "A browser computes for others only on pages that come by https (or from this machine): use the mesh's https address.",
      "bad",
    );
  const identity = await takeIdentity();
  if (link.token === "" && identity.ticket === null)
    return show("This address has no join token. Open the whole link that `skein join-token create` prints.", "bad");
  const agent = new Worker(new URL("agent.js", import.meta.url), { type: "module", name: "agent" });
  const tell = (message: ToAgent): void => agent.postMessage(message);
  const left = Promise.withResolvers<void>();
  const receive = (message: FromAgent): void => {
    switch (message.type) {
      case "joined": {
        const { cpus, gpus, adapter, providers } = message.capabilities;
        show("Joined", "ok");
        element("what").textContent =
          `${cpus} CPUs, ${gpus === 0 ? "no GPU" : `GPU: ${adapter ?? "unnamed"}`}, runs models on ${providers.join(", ") || "nothing"}.`;
        (element("leave") as HTMLButtonElement).disabled = false;
        break;
      }
      case "down":
        show(`The mesh can't be reached (${message.reason}); trying again.`, "bad");
        break;
      case "refused":
        sessionStorage.removeItem(STORED_IDENTITY);
        show(`The mesh has refused this tab: ${message.message}`, "bad");
        break;
      case "ticket":
        sessionStorage.setItem(STORED_IDENTITY, JSON.stringify({ ...identity, ticket: message.ticket }));
        break;
      case "replicas":
        showReplicas(message.replicas);
        break;
      case "left":
        if (element("state").className !== "bad") show("Left the mesh. Reload to join again.");
        (element("leave") as HTMLButtonElement).disabled = true;
        left.resolve();
    }
    globalThis.skeinLauncher?.(message);
  };
  agent.onmessage = ({ data }: MessageEvent<FromAgent>) => receive(data);
  agent.onerror = (event) => {
    show(`The worker crashed: ${event.message || "its program could not be loaded"}. Reload the page.`, "bad");
    receive({ type: "left" });
  };
  globalThis.skeinLeave = (reason) => {
    tell({ type: "leave", reason });
    return left.promise;
  };
  element("leave").onclick = () => tell({ type: "leave", reason: "A person closed the worker." });
  tell({ type: "start", token: link.token, identity, options: link.options });
}

await start();
