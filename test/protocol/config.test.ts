import { parse } from "yaml";
import { describe, expect, it } from "vitest";
import { parseDeployConfig, pathText, unsupportedKeys } from "../../protocol/config.ts";

const textbook = `
proxy_location: EveryNode
http_options: {host: 0.0.0.0, port: 8901}
grpc_options: {port: 9000, grpc_servicer_functions: []}
applications:
- name: llm
  route_prefix: /
  import_path: llm:chat
  runtime_env: {}
  deployments:
  - name: LLM
    num_replicas: 2
    ray_actor_options: {num_cpus: 0.5, num_gpus: 0}
`;

const issues = (yaml: string): string[] =>
  (parseDeployConfig(parse(yaml)).issues ?? []).map((i) => `${pathText(i.path)}: ${i.message}`);
const app = (extra: string): string => `applications:\n- {name: a, import_path: "m:x", ${extra}}\n`;
const deployment = (extra: string): string => app(`deployments: [{name: D, ${extra}}]`);

describe("the Serve configuration", () => {
  it("takes the textbook's file as it stands", () => {
    const { config } = parseDeployConfig(parse(textbook));
    expect(config).toMatchObject({
      http_options: { host: "0.0.0.0", port: 8901, root_path: "" },
      applications: [{ name: "llm", deployments: [{ num_replicas: 2 }] }],
    });
  });

  it("has Ray's defaults, but listens on loopback", () => {
    const { config } = parseDeployConfig({ applications: [{ import_path: "llm:chat" }] });
    expect(config).toMatchObject({
      proxy_location: "EveryNode",
      http_options: { host: "127.0.0.1", port: 8000, keep_alive_timeout_s: 90 },
      grpc_options: { port: 9000, grpc_servicer_functions: [] },
      applications: [{ name: "default", route_prefix: "/", args: {}, deployments: [] }],
    });
  });

  it.each([
    ["{}", ["applications: Invalid input: expected array, received undefined"]],
    ["applications: []\nnot_a_real_field: 1", ['not_a_real_field: Unknown key "not_a_real_field".']],
    [
      app("route_prefix: hello"),
      ["applications[0].route_prefix: Invalid route_prefix 'hello', must start with a forward slash ('/')."],
    ],
    [
      app("route_prefix: /hello/"),
      ["applications[0].route_prefix: Invalid route_prefix '/hello/', should not end with '/' unless it is '/'."],
    ],
    [
      app('route_prefix: "/{hello}"'),
      ["applications[0].route_prefix: Invalid route_prefix '/{hello}', may not contain wildcards."],
    ],
    [
      "applications:\n- {name: a, import_path: 'm:x'}\n- {name: a, route_prefix: /b, import_path: 'm:x'}",
      ['applications: Found multiple configs for application "a". Please remove all duplicates.'],
    ],
    [
      "applications:\n- {name: a, import_path: 'm:x'}\n- {name: b, import_path: 'm:x'}",
      [
        'applications: Found duplicate applications for route prefix "/". Please ensure each application\'s route_prefix is unique.',
      ],
    ],
    [
      "applications:\n- {name: '', import_path: 'm:x'}",
      [
        "applications[0].name: Application names must be nonempty.",
        "applications[0].name: A name can't hold '#', '/', white space or control characters.",
      ],
    ],
    [
      "applications:\n- {name: a, import_path: 'm:x:y'}",
      ['applications[0].import_path: Got invalid import path "m:x:y". An import path may have at most one colon.'],
    ],
    [
      "applications:\n- {name: a, import_path: 'm:'}",
      [
        'applications[0].import_path: Got invalid import path "m:". An import path may not start or end with a colon or dot.',
      ],
    ],
    [
      deployment("max_queued_requests: 0"),
      [
        "applications[0].deployments[0].max_queued_requests: max_queued_requests must be -1 (no limit) or a positive integer.",
      ],
    ],
    [
      deployment("num_replicas: 2, autoscaling_config: {max_replicas: 3}"),
      [
        "applications[0].deployments[0].num_replicas: Manually setting num_replicas is not allowed when autoscaling_config is provided.",
      ],
    ],
    [
      deployment("autoscaling_config: {min_replicas: 5, max_replicas: 3}"),
      [
        "applications[0].deployments[0].autoscaling_config.max_replicas: max_replicas (3) must be greater than or equal to min_replicas (5)!",
      ],
    ],
    [
      deployment("max_replicas_per_node: 1, placement_group_bundles: [{CPU: 1}]"),
      [
        "applications[0].deployments[0].max_replicas_per_node: Setting max_replicas_per_node is not allowed when placement_group_bundles is provided.",
      ],
    ],
    ["applications: []\ntarget_capacity: 101", ["target_capacity: Too big: expected number to be <=100"]],
    [
      "applications: []\nhttp_options: {ssl_keyfile: k}",
      ["http_options.ssl_keyfile: ssl_keyfile and ssl_certfile must be given together."],
    ],
    [
      app("external_scaler_enabled: true, deployments: [{name: D, num_replicas: auto}]"),
      [
        "applications[0].external_scaler_enabled: external_scaler_enabled is set to True, but these deployments have autoscaling: D.",
      ],
    ],
  ])("refuses %j", (yaml, expected) => {
    expect(issues(yaml)).toEqual(expected);
  });

  it.each([0, -2, 1.5, '"hi"'])("refuses max_queued_requests %s", (value) => {
    expect(issues(deployment(`max_queued_requests: ${value}`))).not.toEqual([]);
  });

  it("takes ./path/file:export as import path", () => {
    expect(issues("applications:\n- {name: a, import_path: './apps/m:x'}")).toEqual([]);
  });

  it("lists keys that are known but have no effect", () => {
    expect(
      unsupportedKeys(
        parse(
          deployment(
            "placement_group_strategy: PACK, gang_scheduling_config: null, ray_actor_options: {accelerator_type: T4}",
          ),
        ),
      ),
    ).toEqual([
      "applications[0].deployments[0].placement_group_strategy",
      "applications[0].deployments[0].ray_actor_options.accelerator_type",
    ]);
  });
});
