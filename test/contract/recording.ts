/** The recordings of Ray Serve as data (`recordings/*.yaml`, one observation a file). Knows their form, nothing of Skein. */
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { parse } from "yaml";

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  /** `name: value` lines. */
  readonly headers?: readonly string[];
  readonly body?: string;
  readonly note?: string;
}

/** What was observed over HTTP; what is absent was not under test. */
export interface HttpObserved {
  readonly status?: number;
  readonly headers?: readonly string[];
  readonly body?: string;
  readonly framing?: string;
  readonly end?: string;
  readonly error?: string;
  readonly chunks_as_received?: readonly string[];
}

export interface Step {
  readonly request?: string | HttpRequest;
  /** A command line. */
  readonly cli?: string;
  /** A file that a command wrote. */
  readonly file?: string;
  readonly case?: unknown;
  readonly phase?: string;
  readonly config_app?: object;
  readonly observed?: unknown;
  readonly results?: readonly { readonly request: string; readonly observed: unknown }[];
}

export interface AppConfig {
  readonly name: string;
  readonly route_prefix?: string;
  readonly import_path: string;
}

export interface Recording {
  readonly id: string;
  readonly area: string;
  readonly title: string;
  /** Applications of the config that was PUT; none where each step has its own. */
  readonly applications: readonly AppConfig[];
  readonly steps: readonly Step[];
}

const FOLDER = new URL("./recordings/", import.meta.url);

/** All recordings by id. */
export function loadRecordings(): ReadonlyMap<string, Recording> {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".yaml"));
  return new Map(files.map((name) => [basename(name, ".yaml"), load(name)]));
}

function load(file: string): Recording {
  const { id, area, title, setup, steps } = parse(readFileSync(new URL(file, FOLDER), "utf8")) as {
    id: string;
    area: string;
    title: string;
    setup?: { config?: string };
    steps: Step[];
  };
  if (`${id}.yaml` !== file) throw new Error(`The recording ${file} calls itself ${id}.`);
  const config = setup?.config === undefined ? null : (parse(setup.config) as { applications?: AppConfig[] });
  return { id, area, title, applications: config?.applications ?? [], steps };
}
