/** A status report as the coordinator gives it, for tests of what reads one. */
import type { ApplicationDetails, DeploymentDetails, InstanceDetails, ReplicaDetails } from "../../protocol/status.ts";

export const replica = (more: Partial<ReplicaDetails> = {}): ReplicaDetails => ({
  replica_id: "llm#LLM#abc12345",
  state: "RUNNING",
  pid: 1,
  start_time_s: 1,
  node_id: "h",
  node_ip: "127.0.0.1",
  actor_id: null,
  actor_name: "a",
  worker_id: "w",
  log_file_path: null,
  message: "",
  ...more,
});

export const deployment = (more: Partial<DeploymentDetails> = {}): DeploymentDetails => ({
  name: "LLM",
  status: "HEALTHY",
  status_trigger: "CONFIG_UPDATE_COMPLETED",
  message: "",
  deployment_config: {},
  target_num_replicas: 1,
  required_resources: {},
  replicas: [replica()],
  ...more,
});

export const application = (more: Partial<ApplicationDetails> = {}): ApplicationDetails => ({
  name: "llm",
  route_prefix: "/",
  docs_path: null,
  status: "RUNNING",
  message: "",
  last_deployed_time_s: 1700000000.5,
  deployed_app_config: {
    name: "llm",
    route_prefix: "/",
    import_path: "llm:chat",
    runtime_env: {},
    artefact: "0".repeat(64),
    deployments: [{ name: "LLM", num_replicas: 1 }],
  },
  source: "declarative",
  external_scaler_enabled: false,
  deployments: { LLM: deployment() },
  deployment_topology: null,
  ...more,
});

export const report = (more: Partial<InstanceDetails> = {}): InstanceDetails => ({
  controller_info: {},
  proxy_location: "EveryNode",
  http_options: { host: "127.0.0.1", port: 8000 },
  grpc_options: null,
  proxies: {
    h: {
      node_id: "h",
      node_ip: "127.0.0.1",
      status: "HEALTHY",
      actor_id: null,
      actor_name: null,
      worker_id: null,
      log_file_path: null,
    },
  },
  deploy_mode: "MULTI_APP",
  applications: { llm: application() },
  target_capacity: null,
  target_groups: [
    {
      protocol: "HTTP",
      route_prefix: "/",
      app_name: "",
      targets: [{ ip: "127.0.0.1", port: 8123, instance_id: "", name: "" }],
    },
  ],
  skein: { term: 1, revision: 1, recovering: false, workers: [] },
  ...more,
});
