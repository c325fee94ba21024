/**
 * The status page: a shell that anyone may load, and a body that needs the admin token. The token comes once in the URL's fragment
 * (which browsers never send), is taken out of the address at once and kept for this tab only.
 */
import type { InstanceDetails } from "../../protocol/status.ts";

export const PAGE_HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "content-security-policy":
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

export const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Skein</title>
<style>
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd;vertical-align:top}
th{font-weight:600;color:#555}.ok{color:#067a2f}.bad{color:#b3261e}.wait{color:#8a5a00}pre{white-space:pre-wrap;margin:0;font:12px/1.4 ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}th{color:#aaa}th,td{border-color:#333}.ok{color:#5fd38a}.bad{color:#ff8a80}.wait{color:#e0b050}}
</style></head><body><h1>Skein</h1><main id="main">Loading…</main><script src="/page.js"></script></body></html>
`;

export const PAGE_SCRIPT = `"use strict";
const found = new URLSearchParams(location.hash.slice(1)).get("token");
if (found) { sessionStorage.setItem("token", found); history.replaceState(null, "", location.pathname); }
const main = document.getElementById("main");
async function show() {
  try {
    const token = sessionStorage.getItem("token");
    const answer = await fetch("/api/skein/page", { headers: token ? { authorization: "Bearer " + token } : {} });
    if (answer.status === 401) main.textContent = "This page needs the admin token: open the link that \`skein start\` or \`npm start\` printed.";
    else main.innerHTML = await answer.text();
  } catch { main.textContent = "The coordinator does not answer. Trying again."; }
  setTimeout(show, 2000);
}
show();
`;

const escape = (value: unknown): string => String(value ?? "").replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const GOOD = new Set(["RUNNING", "HEALTHY", "ALIVE"]);
const BAD = new Set(["DEPLOY_FAILED", "UNHEALTHY", "LOST"]);
const word = (status: string): string =>
  `<span class="${GOOD.has(status) ? "ok" : BAD.has(status) ? "bad" : "wait"}">${escape(status)}</span>`;
const row = (cells: readonly string[]): string => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
const table = (head: readonly string[], rows: readonly string[], none: string): string =>
  rows.length === 0
    ? `<p>${none}</p>`
    : `<table><tr>${head.map((h) => `<th>${h}</th>`).join("")}</tr>${rows.join("")}</table>`;

/** HTML of applications, replicas and workers. Everything that came from outside is escaped. */
export function pageBody(details: InstanceDetails, warnings: readonly string[]): string {
  const apps = Object.values(details.applications);
  const applications = apps.map((app) =>
    row([escape(app.name), escape(app.route_prefix ?? "—"), word(app.status), `<pre>${escape(app.message)}</pre>`]),
  );
  const replicas = apps.flatMap((app) =>
    Object.values(app.deployments).flatMap((d) => [
      row([
        `<b>${escape(app.name)} / ${escape(d.name)}</b>`,
        word(d.status),
        `${d.replicas.filter((r) => r.state === "RUNNING").length} of ${d.target_num_replicas} running`,
        `<pre>${escape(d.message)}</pre>`,
      ]),
      ...d.replicas.map((r) =>
        row([
          `&nbsp;&nbsp;${escape(r.replica_id)}`,
          word(r.state),
          escape(r.worker_id ?? "not placed"),
          `<pre>${escape(r.message)}</pre>`,
        ]),
      ),
    ]),
  );
  const workers = details.skein.workers.map((w) =>
    row([
      escape(w.name || w.worker_id),
      word(w.status),
      escape(w.kind),
      `${w.available.cpus.toFixed(1)} of ${w.resources.cpus} CPU, ${w.available.gpus.toFixed(1)} of ${w.resources.gpus} GPU${w.adapter === null ? "" : ` (${escape(w.adapter)})`}`,
      escape(w.providers.join(", ")),
      String(w.replicas.length),
    ]),
  );
  return [
    details.skein.recovering ? "<p class=wait>The coordinator has just started and is finding out what runs.</p>" : "",
    warnings.map((warning) => `<p class="wait">${escape(warning)}</p>`).join(""),
    "<h2>Applications</h2>",
    table(["Name", "Route", "Status", ""], applications, "None deployed."),
    "<h2>Deployments and replicas</h2>",
    table(["", "Status", "Where", ""], replicas, "None."),
    "<h2>Workers</h2>",
    table(["Name", "Status", "Kind", "Free", "Engines", "Replicas"], workers, "None has joined."),
  ].join("\n");
}
