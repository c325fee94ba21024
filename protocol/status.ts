/** Status words and the shape of `GET /api/serve/applications/`: Ray Serve's, with what Skein adds under `skein`. Types only. */
export const APPLICATION_STATUSES = [
  "NOT_STARTED",
  "DEPLOYING",
  "DEPLOY_FAILED",
  "RUNNING",
  "UNHEALTHY",
  "DELETING",
] as const;
export type ApplicationStatus = (typeof APPLICATION_STATUSES)[number];
export const DEPLOYMENT_STATUSES = [
  "UPDATING",
  "HEALTHY",
  "UNHEALTHY",
  "DEPLOY_FAILED",
  "UPSCALING",
  "DOWNSCALING",
] as const;
export type DeploymentStatus = (typeof DEPLOYMENT_STATUSES)[number];
export const DEPLOYMENT_TRIGGERS = [
  "UNSPECIFIED",
  "CONFIG_UPDATE_STARTED",
  "CONFIG_UPDATE_COMPLETED",
  "UPSCALE_COMPLETED",
  "DOWNSCALE_COMPLETED",
  "AUTOSCALING",
  "REPLICA_STARTUP_FAILED",
  "HEALTH_CHECK_FAILED",
  "INTERNAL_ERROR",
  "DELETING",
] as const;
export type DeploymentTrigger = (typeof DEPLOYMENT_TRIGGERS)[number];
export const REPLICA_STATES = [
  "STARTING",
  "UPDATING",
  "RECOVERING",
  "RUNNING",
  "STOPPING",
  "PENDING_MIGRATION",
] as const;
export type ReplicaState = (typeof REPLICA_STATES)[number];
export const PROXY_STATUSES = ["STARTING", "HEALTHY", "UNHEALTHY", "DRAINING", "DRAINED"] as const;
export type ProxyStatus = (typeof PROXY_STATUSES)[number];

export interface ReplicaDetails {
  replica_id: string;
  state: ReplicaState;
  pid: number | null;
  start_time_s: number;
  node_id: string | null;
  node_ip: string | null;
  actor_id: string | null;
  actor_name: string;
  worker_id: string | null;
  log_file_path: string | null;
  /** Skein: what it waits for or does now; why it can't be placed, per worker. */
  message: string;
}

export interface DeploymentDetails {
  name: string;
  status: DeploymentStatus;
  status_trigger: DeploymentTrigger;
  message: string;
  deployment_config: Record<string, unknown>;
  target_num_replicas: number;
  required_resources: Record<string, number>;
  replicas: ReplicaDetails[];
}

export interface ApplicationDetails {
  name: string;
  route_prefix: string | null;
  docs_path: string | null;
  status: ApplicationStatus;
  message: string;
  last_deployed_time_s: number;
  deployed_app_config: Record<string, unknown> | null;
  source: "unknown" | "imperative" | "declarative";
  external_scaler_enabled: boolean;
  deployments: Record<string, DeploymentDetails>;
  deployment_topology: {
    app_name: string;
    ingress_deployment: string;
    nodes: Record<
      string,
      {
        name: string;
        app_name: string;
        outbound_deployments: { name: string; app_name: string }[];
        is_ingress: boolean;
      }
    >;
  } | null;
}

export interface ProxyDetails {
  node_id: string;
  node_ip: string;
  status: ProxyStatus;
  actor_id: string | null;
  actor_name: string | null;
  worker_id: string | null;
  log_file_path: string | null;
}

export interface WorkerDetails {
  worker_id: string;
  host_id: string;
  kind: "node" | "browser";
  name: string;
  status: "ALIVE" | "LOST";
  resources: { cpus: number; gpus: number; memory: number };
  available: { cpus: number; gpus: number; memory: number };
  providers: string[];
  adapter: string | null;
  replicas: string[];
}

export interface InstanceDetails {
  controller_info: Record<string, unknown>;
  proxy_location: "EveryNode" | "HeadOnly" | "Disabled" | null;
  http_options: Record<string, unknown> | null;
  grpc_options: Record<string, unknown> | null;
  proxies: Record<string, ProxyDetails>;
  deploy_mode: "MULTI_APP";
  applications: Record<string, ApplicationDetails>;
  target_capacity: number | null;
  target_groups: {
    protocol: "HTTP" | "gRPC";
    route_prefix: string;
    app_name: string;
    targets: { ip: string; port: number; instance_id: string; name: string }[];
  }[];
  skein: { term: number; revision: number; recovering: boolean; workers: WorkerDetails[] };
}
