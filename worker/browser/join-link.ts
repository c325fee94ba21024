/** The fragment of a join link: `#token=...&name=...` or the token alone. Fragments are never sent to servers. Pure. */
import type { TabOptions } from "./tab.ts";

export interface JoinLink {
  readonly token: string;
  readonly options: TabOptions;
}

const DEVICES = ["auto", "webgpu", "wasm"] as const;

/** `hash`: of the address, with its `#`. Unknown keys are left alone; what makes no sense counts as not said. */
export function readJoinLink(hash: string): JoinLink {
  const text = hash.replace(/^#/, "");
  const said = new URLSearchParams(text.includes("=") ? text : { token: text });
  const number = (name: string): number | null => {
    const value = Number(said.get(name) ?? Number.NaN);
    return Number.isFinite(value) && value >= 0 ? value : null;
  };
  return {
    token: said.get("token") ?? "",
    options: {
      name: (said.get("name") ?? "browser").slice(0, 200),
      device: DEVICES.find((device) => device === said.get("device")) ?? "auto",
      allowSoftwareGpu: said.has("allow-software-gpu"),
      cpus: number("cpus"),
      gpus: number("gpus"),
      resources: resourcesOf(said.get("resources")),
    },
  };
}

/** The fragment that says the same; for programs that open the page. */
export function joinFragment(
  wishes: { readonly joinToken: string; readonly device: string } & Omit<TabOptions, "device">,
): string {
  const { joinToken: token, name, device, allowSoftwareGpu, cpus, gpus, resources } = wishes;
  const said = new URLSearchParams({ token, name, device, resources: JSON.stringify(resources) });
  if (allowSoftwareGpu) said.set("allow-software-gpu", "");
  if (cpus !== null) said.set("cpus", String(cpus));
  if (gpus !== null) said.set("gpus", String(gpus));
  return `#${said}`;
}

function resourcesOf(text: string | null): Record<string, number> {
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    const entries = typeof value === "object" && value !== null ? Object.entries(value as Record<string, unknown>) : [];
    return Object.fromEntries(entries.filter((entry): entry is [string, number] => typeof entry[1] === "number"));
  } catch {
    return {};
  }
}
