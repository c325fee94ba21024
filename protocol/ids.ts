/**
 * Identifiers. Two ids of the same shape are different types, so that one can't be passed for the other.
 * An id is used once and never again; none of them ever becomes a path.
 */
declare const brand: unique symbol;
type Id<Name extends string> = string & { readonly [brand]: Name };

export type AppName = Id<"app">;
/** `app#deployment`; the key of a deployment everywhere in the mesh. */
export type DeploymentId = Id<"deployment">;
/** `app#deployment#suffix` as in Ray Serve. A replica that is started again gets a new one. */
export type ReplicaId = Id<"replica">;
export type WorkerId = Id<"worker">;
/** One machine (or one browser): at most one ingress per host. */
export type HostId = Id<"host">;
export type IngressId = Id<"ingress">;
export type RequestId = Id<"request">;
/** Lower-case hex SHA-256 of a blob. */
export type Sha256 = Id<"sha256">;

export const deploymentId = (app: string, deployment: string): DeploymentId => `${app}#${deployment}` as DeploymentId;

export const replicaId = (deployment: DeploymentId, suffix: string): ReplicaId =>
  `${deployment}#${suffix}` as ReplicaId;

/** Splits `app#deployment` or `app#deployment#suffix`. Names can't hold `#` (the config schema refuses it). */
export function splitId(id: DeploymentId | ReplicaId): {
  app: AppName;
  deployment: string;
  suffix: string | undefined;
} {
  const [app, deployment, suffix] = id.split("#");
  return { app: app as AppName, deployment: deployment ?? "", suffix };
}

export const deploymentOf = (id: ReplicaId): DeploymentId => {
  const { app, deployment } = splitId(id);
  return deploymentId(app, deployment);
};

/** Version of desired state. The term rises at every start of a coordinator, so a later coordinator always wins. */
export interface Version {
  readonly term: number;
  readonly revision: number;
}

/** Negative when `a` is older than `b`, 0 when equal, positive when newer. */
export const compareVersions = (a: Version, b: Version): number => a.term - b.term || a.revision - b.revision;
