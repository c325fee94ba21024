/** Which recordings are replayed, with which applications deployed and by which script; and which are open, with the reason. */
import type { AppConfig } from "./recording.ts";
import { replayRequests, type Replay } from "./replay.ts";

export type Script = (replay: Replay) => Promise<void>;

export interface Group {
  readonly name: string;
  readonly applications: readonly AppConfig[];
  readonly cases: Readonly<Record<string, Script>>;
}

const app = (name: string, importPath: string, more: object = {}): AppConfig => ({ name, route_prefix: `/${name}`, import_path: importPath, ...more });
const plain = (...ids: readonly string[]): Record<string, Script> => Object.fromEntries(ids.map((id) => [id, replayRequests]));

export const GROUPS: readonly Group[] = [
  {
    name: "the textbook's application",
    applications: [{ ...app("llm", "textbook_llm:chat", { deployments: [{ name: "LLM", num_replicas: 1, ray_actor_options: { num_cpus: 1, num_gpus: 0 } }] }), route_prefix: "/" }],
    cases: plain("C051", "X-TXT-02", "C004"),
  },
  {
    name: "echo and types",
    applications: [app("echo", "ct_echo:app"), app("types", "ct_types:app"), app("agen", "ct_types:agen_app"), app("sgen", "ct_types:sgen_app"), app("fn", "ct_types:fn_app"), { ...app("p6", "ct_fail:ok"), route_prefix: "/a b" }],
    cases: plain("C007", "C011", "C019", "C020", "C043", "C049", "C049-c", "C049-d", "C049-e", "C050", "X-HTTP-01", "X-HTTP-03", "X-HTTP-04", "X-HTTP-06"),
  },
];

/** Not replayed here, and why. */
const REASONS: readonly (readonly [why: string, ids: string])[] = [
  ["no script yet", "C002 C005 C006-c X-CONN-01 X-CONN-03 X-CONN-04 X-CONN-05 C040 C045 X-CAN-01 X-CAN-02 C037 X-OVER-01 X-OVER-02 C022 C029-b C012 C117 C119 C006-b C088 C088-b C090 C105 C107 C121 C122 C129 C174 X-LIFE-01 C067 C071 C073 C079 X-REST-01 X-REST-02 X-REST-04 C006 C066 C167 C169 C171 C100 C102 C103 C104 C113 C164 X-UPD-03 X-UPD-04 X-UPD-05 X-UPD-06"],
  ["Python's own router; a router is the user's choice here", "X-FA-01 X-FA-02 X-FA-04 X-FA-05"],
  ["later capability: autoscaling, batching, multiplexing have unit tests with Skein's own expectations", "C142 C143 C132 C134 C135 C136 X-BAT-01 C137 C138"],
  ["the command line is tested in test/cli with its own words", "X-TXT-03 C084 C092 C098 X-CLI-01 X-CLI-02 X-CLI-03 X-CLI-04 X-CLI-07 X-CLI-08"],
  ["handles are tested in test/serve and test/worker; Python's exception classes are the recording's subject", "X-HDL-02 X-HDL-03 X-HDL-04 X-HDL-05 X-HDL-06 X-HDL-08 X-HDL-11"],
  ["the imperative API runs in Python's driver process", "C015 C069"],
  ["logs have a form of their own", "C181 X-LOG-01"],
  ["metrics have names of their own", "C175 C178 C179 X-MET-01 X-MET-02 X-MET-03 X-MET-04 X-MET-05 X-MET-06"],
  ["WebSockets are tested in test/ingress/websocket.test.ts; not replayed yet", "C046 C047 X-WS-01"],
];

export const OPEN: Readonly<Record<string, string>> = Object.fromEntries(REASONS.flatMap(([why, ids]) => ids.split(" ").map((id) => [id, why])));
