/**
 * Follows applications from "deployed" to "running" by their status, and says what they wait for.
 * `progressOf` is pure; `follow` asks again and again. Knows Ray's status words; knows nothing of terminals.
 */
import type { ApplicationDetails, InstanceDetails } from "../protocol/status.ts";
import { EXIT } from "../protocol/errors.ts";
import { CommandFailed, Interrupted } from "./failure.ts";
import type { Client } from "./client.ts";
import type { Shell } from "./shell.ts";

/** Between two questions, ms: a start is felt to be quick, and a coordinator answers thousands of these a second. */
const ASK_EVERY_MS = 75;
/** The listener must be there this long after the application runs, ms. */
const LISTENER_WITHIN_MS = 15_000;

export interface AppProgress {
  readonly state: "waiting" | "running" | "failed";
  /** What it does or waits for now; why it failed. */
  readonly text: string;
}

/** Where one application is on its way. */
export function progressOf(name: string, application: ApplicationDetails | undefined): AppProgress {
  if (application === undefined) return { state: "waiting", text: `${name}: waiting for the coordinator` };
  if (application.status === "RUNNING") return { state: "running", text: `${name}: running` };
  const detail = messageOf(application);
  if (application.status === "DEPLOY_FAILED")
    return { state: "failed", text: detail === "" ? `Deploying application "${name}" failed.` : detail };
  const deployments = Object.values(application.deployments);
  const running = deployments.reduce((sum, d) => sum + d.replicas.filter((r) => r.state === "RUNNING").length, 0);
  const wanted = deployments.reduce((sum, d) => sum + d.target_num_replicas, 0);
  const count = wanted > 1 ? ` ${running} of ${wanted} replicas ready` : "";
  return {
    state: "waiting",
    text: `${name}: ${detail === "" ? (wanted === 0 ? "building" : "starting") : detail}${count === "" ? "" : ` (${count.trim()})`}`,
  };
}

/** The most telling message: of a replica that isn't running, else of a deployment, else of the application. */
function messageOf(application: ApplicationDetails): string {
  const deployments = Object.values(application.deployments);
  if (application.status === "DEPLOY_FAILED") {
    // What the application says names the deployments; why is theirs to say.
    const failed = deployments.filter((d) => d.status === "DEPLOY_FAILED");
    return [application.message, ...failed.map((d) => d.message)].filter((m) => m !== "").join("\n");
  }
  const waiting = deployments.flatMap((d) => d.replicas).filter((r) => r.state !== "RUNNING");
  return (
    [...waiting.map((r) => r.message), ...deployments.map((d) => d.message), application.message].find(
      (m) => m !== "",
    ) ?? ""
  );
}

/** `http://host:port/prefix` of an application's HTTP entry, as a person on this machine types it; undefined while nothing listens. */
export function urlOf(status: InstanceDetails, name: string): string | undefined {
  const app = status.applications[name];
  if (app === undefined || app.route_prefix === null) return undefined;
  // As in Ray, one group stands for all applications, unless a group is for this one.
  const groups = status.target_groups.filter((group) => group.protocol === "HTTP");
  const target = (groups.find((group) => group.app_name === name) ?? groups.find((group) => group.app_name === ""))
    ?.targets[0];
  const { host, port, root_path, ssl_certfile } = (status.http_options ?? {}) as {
    host?: string;
    port?: number;
    root_path?: string;
    ssl_certfile?: string | null;
  };
  const at = target ?? (host === undefined || port === undefined || port === 0 ? undefined : { ip: host, port });
  if (at === undefined || status.proxy_location === "Disabled") return undefined;
  const shown = /^(0\.0\.0\.0|127\.\d+\.\d+\.\d+|::1?|localhost)$/.test(at.ip) ? "localhost" : at.ip;
  return `${ssl_certfile == null ? "http" : "https"}://${shown}:${at.port}${root_path ?? ""}${app.route_prefix}`;
}

/**
 * Resolves with the status in which all named applications run and their listener answers. `onText`: what goes on, for a person.
 * Errors: 1 a deploy failed, 130 interrupted. An application that can't be placed is waited for: a worker may join.
 */
export async function follow(
  names: readonly string[],
  client: Client,
  shell: Shell,
  onText: (text: string) => void,
): Promise<InstanceDetails> {
  for (;;) {
    const status = await client.status();
    const each = names.map((name) => progressOf(name, status.applications[name]));
    const failed = each.find((one) => one.state === "failed");
    if (failed !== undefined) throw new CommandFailed(EXIT.failed, failed.text);
    if (each.every((one) => one.state === "running")) return listening(names, client, shell);
    onText(
      each
        .filter((one) => one.state === "waiting")
        .map((one) => one.text)
        .join("; "),
    );
    await shell.sleep(ASK_EVERY_MS);
    if (shell.stop.aborted) throw new Interrupted();
  }
}

/** Waits until the ingress on this machine knows the applications' routes: then the URL that is printed works. */
async function listening(names: readonly string[], client: Client, shell: Shell): Promise<InstanceDetails> {
  const begun = shell.now();
  for (;;) {
    const status = await client.status();
    const urls = names.map((name) => urlOf(status, name)).filter((url) => url !== undefined);
    const noListener =
      names.every((name) => status.applications[name]?.route_prefix === null) || status.proxy_location === "Disabled";
    if (noListener || (urls.length > 0 && (await Promise.all(urls.map((url) => routed(url, shell)))).every(Boolean)))
      return status;
    if (shell.stop.aborted) throw new Interrupted();
    if (shell.now() - begun > LISTENER_WITHIN_MS) {
      const { host, port } = (status.http_options ?? {}) as { host?: string; port?: number };
      throw new CommandFailed(
        EXIT.failed,
        `The application runs, but nothing answers on HTTP${port === undefined ? "" : ` port ${port} of ${host}`}. Is the port in use by another program? See \`skein status\` and \`skein doctor\`.`,
      );
    }
    await shell.sleep(ASK_EVERY_MS);
  }
}

async function routed(url: string, shell: Shell): Promise<boolean> {
  try {
    const { origin, pathname } = new URL(url.replace("//localhost:", "//127.0.0.1:"));
    // Under https the certificate may be anyone's: that something listens is enough.
    if (origin.startsWith("https:")) return true;
    const response = await shell.fetch(`${origin}/-/routes`, { signal: shell.stop });
    const routes = (await response.json()) as Record<string, string>;
    return Object.keys(routes).some((prefix) => pathname === prefix || pathname.endsWith(prefix));
  } catch {
    return false;
  }
}
