/** Which recordings are replayed, with which applications deployed and by which script; and which are open, with the reason. */
import type { AppConfig } from "./recording.ts";
import { replayRequests, type Replay } from "./replay.ts";
import { chunkedBodies, expectContinue, keepAlive, unusualRequests } from "./scripts/connections.ts";
import { apiRequests, applications, scaling, shutdown } from "./scripts/operators.ts";
import { commands } from "./scripts/commands.ts";
import { fromZero, upAndDown } from "./scripts/autoscaling.ts";
import { handleCalls, handlesByName, imperative, listed } from "./scripts/handles.ts";
import { leastRecentlyUsed, leavingABatch, oneModel, sideBySide } from "./scripts/batches.ts";
import { failing, healed, hopeless, onePerNode, waves } from "./scripts/rollouts.ts";
import { buckets, families, statusGauges } from "./scripts/metrics.ts";
import { closing, echoes, refusedHandshakes } from "./scripts/websockets.ts";
import {
  backpressure,
  globalTimeout,
  leaving,
  phase,
  prefixWithSpace,
  timeouts,
  twelveAtOnce,
} from "./scripts/requests.ts";
import {
  badPrefixes,
  dropped,
  optionUpdates,
  routeUpdate,
  settledStates,
  sickness,
  updates,
  updateUnderLoad,
} from "./scripts/states.ts";

export type Script = (replay: Replay) => Promise<void>;

export interface Group {
  readonly name: string;
  /** Null: scripts deploy for themselves. */
  readonly applications: readonly AppConfig[] | null;
  /** Those that can't be placed and stay DEPLOYING. */
  readonly unsettled?: readonly string[];
  readonly httpOptions?: object;
  readonly cases: Readonly<Record<string, Script>>;
}

const app = (name: string, importPath: string, more: object = {}): AppConfig => ({
  name,
  route_prefix: `/${name}`,
  import_path: importPath,
  ...more,
});
const plain = (...ids: readonly string[]): Record<string, Script> =>
  Object.fromEntries(ids.map((id) => [id, replayRequests]));

const prefixes = [
  app("one", "ct_echo:app1", { route_prefix: "/hello" }),
  app("three", "ct_echo:app3", { route_prefix: "/hello/world" }),
  app("four", "ct_echo:app4", { route_prefix: "/hello/world/again" }),
  app("dia", "ct_auto:diamond"),
];
const ok = (name: string, route: string): AppConfig => app(name, "ct_fail:ok", { route_prefix: route });

const scaled = (name: string, bounds: object): AppConfig =>
  app(name, "ct_auto:app", {
    deployments: [
      {
        name: "Auto",
        autoscaling_config: {
          ...bounds,
          upscale_delay_s: 1,
          downscale_delay_s: 2,
          look_back_period_s: 1,
          metrics_interval_s: 0.2,
          target_ongoing_requests: 2,
        },
      },
    ],
  });

/** In this order, on one mesh: each deploys what it needs over the one before. */
export const GROUPS: readonly Group[] = [
  {
    name: "the textbook's application",
    applications: [
      {
        ...app("llm", "textbook_llm:chat", {
          runtime_env: {},
          deployments: [{ name: "LLM", num_replicas: 1, ray_actor_options: { num_cpus: 1, num_gpus: 0 } }],
        }),
        route_prefix: "/",
      },
    ],
    cases: { ...plain("C051", "X-TXT-02", "C004"), "X-TXT-03": commands },
  },
  {
    name: "echo and types",
    applications: [
      app("echo", "ct_echo:app"),
      app("types", "ct_types:app"),
      app("agen", "ct_types:agen_app"),
      app("sgen", "ct_types:sgen_app"),
      app("fn", "ct_types:fn_app"),
      app("fa", "ct_fastapi:app"),
      ok("p6", "/a b"),
    ],
    cases: {
      ...plain(
        "C007",
        "C011",
        "C019",
        "C020",
        "C040",
        "C043",
        "C049",
        "C049-c",
        "C049-d",
        "C049-e",
        "C050",
        "X-HTTP-01",
        "X-HTTP-03",
        "X-HTTP-04",
        "X-HTTP-06",
      ),
      "C006-c": prefixWithSpace,
      "X-CONN-01": keepAlive,
      "X-CONN-03": chunkedBodies,
      "X-CONN-04": expectContinue,
      "X-CONN-05": unusualRequests,
      C046: echoes,
      C047: closing,
      "X-WS-01": refusedHandshakes,
    },
  },
  {
    name: "slow and busy ones, and prefixes, none of them /",
    applications: [
      ...prefixes,
      app("slow", "ct_slow:app"),
      app("conc", "ct_over:conc"),
      app("over429", "ct_over:over", {
        deployments: [{ name: "Over", backpressure_config: { status_code: 429, retry_after_s: 7 } }],
      }),
      app("health", "ct_over:health"),
    ],
    cases: {
      C045: leaving,
      "X-CAN-01": leaving,
      "X-CAN-02": leaving,
      C037: twelveAtOnce,
      "X-OVER-01": backpressure,
      "C029-b": timeouts,
      C005: phase(true),
      C079: applications(["dia"]),
      C012: sickness("exit"),
      C117: sickness("hang"),
    },
  },
  {
    name: "batches and models",
    applications: [
      app("batch", "ct_batch:app", { route_prefix: "/b" }),
      app("mux", "ct_batch:mux"),
      app("mux1", "ct_batch:mux1"),
    ],
    cases: {
      C132: sideBySide,
      C136: leavingABatch,
      C134: sideBySide,
      C135: sideBySide,
      "X-BAT-01": sideBySide,
      C137: oneModel,
      C138: leastRecentlyUsed,
    },
  },
  {
    name: "handles, and scripts that use a mesh",
    applications: [app("handle", "ct_handle:app", { route_prefix: "/h" })],
    cases: {
      "X-HDL-02": handleCalls,
      "X-HDL-03": handleCalls,
      "X-HDL-04": handleCalls,
      "X-HDL-05": handleCalls,
      "X-HDL-06": handleCalls,
      "X-HDL-11": handlesByName,
    },
  },
  {
    name: "a script's applications",
    applications: [app("e", "ct_echo:app")],
    cases: { C015: imperative, C069: listed },
  },
  {
    name: "prefixes and /",
    applications: [...prefixes, app("two", "ct_echo:app2", { route_prefix: "/" })],
    cases: { C002: replayRequests, "C005 (with an application on /)": phase(false) },
  },
  {
    name: "what can't be deployed",
    unsettled: ["gpu", "cpu100"],
    applications: [
      ok("p6", "/a b"),
      app("fail-ctor", "ct_fail:fail_ctor"),
      app("bad-reconf", "ct_fail:bad_reconf", { deployments: [{ name: "BadReconf", user_config: { bad: true } }] }),
      app("d9", "ct_fail:ok", { deployments: [{ name: "Ok", user_config: { a: 1 } }] }),
      app("sick", "ct_fail:sick"),
      app("no-module", "no_such_module:app"),
      app("no-attr", "ct_fail:nope"),
      app("syntax", "ct_syntax:app"),
      app("import-raises", "ct_importfail:app"),
      app("unknown-dep", "ct_fail:ok", { deployments: [{ name: "Nope", num_replicas: 2 }] }),
      app("gpu", "ct_fail:gpu"),
      app("cpu100", "ct_fail:ok", { deployments: [{ name: "Ok", ray_actor_options: { num_cpus: 100 } }] }),
      app("not-bound", "ct_fail:NotBound"),
      app("plain-class", "ct_fail:PlainClass"),
      app("plain-int", "ct_fail:plain"),
      app("builder-ok", "ct_fail:builder", { args: { x: 1 } }),
      app("builder-two", "ct_fail:builder_two"),
      app("builder-wrong", "ct_fail:builder_wrong_return"),
      app("builder-raises", "ct_fail:builder_raises"),
      app("args-nobuilder", "ct_fail:ok", { args: { x: 1 } }),
    ],
    cases: {
      ...Object.fromEntries(
        ["C088", "C090", "C107", "C119", "C122", "C174", "X-LIFE-01"].map((id) => [id, settledStates]),
      ),
      "C088-b": applications(["fail-ctor", "no-module", "gpu"]),
      "C006-b": badPrefixes,
    },
  },
  {
    name: "updates",
    applications: null,
    cases: {
      C104: updates,
      C100: updates,
      C102: optionUpdates,
      C103: routeUpdate,
      "X-UPD-03": updates,
      C113: updateUnderLoad,
      C105: dropped,
      "X-UPD-04": failing({ deployments: [{ name: "U", num_replicas: 2, user_config: { v: 1 } }] }, 5),
      "X-UPD-05": healed,
      "X-UPD-06": failing({ import_path: "ct_upd:app", deployments: [{ name: "U", num_replicas: 3 }] }, 8),
      C164: waves,
      C129: onePerNode,
      C121: hopeless,
    },
  },
  {
    name: "the operators' API",
    applications: [app("e", "ct_echo:app", { external_scaler_enabled: true }), app("e2", "ct_echo:app2")],
    cases: { "X-REST-02": apiRequests, C073: scaling, C071: scaling, "X-REST-04": applications(["e2"]) },
  },
  {
    name: "configurations that are refused",
    applications: [],
    cases: {
      C006: apiRequests,
      C066: apiRequests,
      C167: apiRequests,
      C169: apiRequests,
      C171: apiRequests,
      "X-REST-01": apiRequests,
    },
  },
  {
    name: "metrics",
    applications: [app("auto", "ct_auto:app"), app("echo", "ct_echo:app"), app("slow", "ct_slow:app")],
    cases: { C179: statusGauges, "X-MET-01": families, "X-MET-06": buckets },
  },
  {
    name: "the command line",
    applications: [app("one", "ct_echo:app1"), app("two", "ct_echo:app2")],
    cases: {
      ...Object.fromEntries(
        ["X-CLI-02", "X-CLI-03", "X-CLI-04", "X-CLI-07", "C098", "C084", "C092", "X-CLI-01"].map((id) => [
          id,
          commands,
        ]),
      ),
    },
  },
  { name: "shut down", applications: [app("e", "ct_echo:app")], cases: { C067: shutdown } },
  {
    name: "a time limit for all",
    httpOptions: { request_timeout_s: 1 },
    applications: [app("slow", "ct_slow:app")],
    cases: { C022: globalTimeout },
  },
];

/** Those that wait for an autoscaler, 40 s: a suite of their own. */
export const SLOW_GROUPS: readonly Group[] = [
  {
    name: "autoscaling",
    applications: [
      scaled("a13", { min_replicas: 1, max_replicas: 3 }),
      scaled("a02", { min_replicas: 0, max_replicas: 2 }),
    ],
    cases: { C142: upAndDown, C143: fromZero },
  },
];

/** Not replayed here, and why. */
const REASONS: readonly (readonly [why: string, ids: string])[] = [
  ["handlers of one replica share one thread: there is nothing to compare", "X-OVER-02"],
  ["Python's own router; a router is the user's choice here", "X-FA-01 X-FA-02 X-FA-04 X-FA-05"],
  [
    "`skein run` beside a mesh and Ctrl-C are tested with real processes in test/system/beside.test.ts and quickstart.test.ts",
    "X-CLI-08",
  ],
  ["calls can't be made to wait synchronously in JavaScript: a response has no result()", "X-HDL-08"],
  [
    "one access line for each request, in Ray's form, by the ingress (test/ingress/links.test.ts); replicas write none, and Python's own lines have no counterpart",
    "C181",
  ],
  ["a JSON line names no source file, process or actor: its keys are Skein's", "X-LOG-01"],
  [
    "increases after the traffic of many recordings, FastAPI's among them; counters are tested with traffic of their own in test/ingress/links.test.ts and grpc/listener.test.ts",
    "C175 C178 X-MET-05",
  ],
  ["replicas export no metrics: what an ingress and the coordinator can't see isn't counted", "X-MET-02 X-MET-03"],
  ["of Ray's router actors, controller loop, long polls and event loops, which are not there", "X-MET-04"],
];

export const OPEN: Readonly<Record<string, string>> = Object.fromEntries(
  REASONS.flatMap(([why, ids]) => ids.split(" ").map((id) => [id, why])),
);
