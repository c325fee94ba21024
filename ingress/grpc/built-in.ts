/**
 * Services that the ingress answers itself: grpc.health.v1, reflection v1 and v1alpha, and Ray Serve's RayServeAPIService.
 * Methods take whole messages; whoever runs them (local-call.ts) has the wire.
 */
import { create, fromBinary, toBinary, type DescMethod } from "@bufbuild/protobuf";
import { GRPC_STATUS } from "../../protocol/grpc.ts";
import type { Mesh } from "../mesh.ts";
import { BUILT_IN, BUILT_IN_SERVICES, type Catalogue } from "./catalogue.ts";
import { reflect, type Question } from "./reflection.ts";

export interface Verdict {
  readonly code: number;
  readonly details: string;
}

/** One call in hand. */
export interface LocalCall {
  /** Metadata `application`. */
  readonly app: string;
  send(message: Uint8Array): void;
  finish(verdict: Verdict): void;
  /** Calls back every so often until the call is over. */
  often(callback: () => void): void;
}

export interface BuiltInContext {
  readonly mesh: Mesh;
  catalogue(): Catalogue;
}

/** Returns what takes the messages. */
export type LocalMethod = (call: LocalCall, context: BuiltInContext) => (message: Uint8Array) => void;

export const OK: Verdict = { code: GRPC_STATUS.OK, details: "" };

const HEALTH = { unknown: 0, serving: 1, notServing: 2, serviceUnknown: 3 } as const;

/** What an answer is made of, or why there is none. */
type Result = { readonly value: object } | Verdict;
const isVerdict = (result: Result): result is Verdict => "code" in result;

/** By `/package.Service/Method`. */
export const BUILT_IN_METHODS: ReadonlyMap<string, LocalMethod> = new Map([
  unary("grpc.health.v1.Health", "Check", ({ mesh, catalogue }, request) => {
    const status = health(mesh, catalogue(), (request as { service: string }).service);
    return status === null ? { code: GRPC_STATUS.NOT_FOUND, details: "unknown service" } : { value: { status } };
  }),
  method("grpc.health.v1.Health", "Watch", (desc) => (call, { mesh, catalogue }) => {
    let last = -1;
    return (message) => {
      const { service } = fromBinary(desc.input, message) as unknown as { service: string };
      const tell = (): void => {
        const status = health(mesh, catalogue(), service) ?? HEALTH.serviceUnknown;
        if (status !== last) call.send(toBinary(desc.output, create(desc.output, { status } as never)));
        last = status;
      };
      tell();
      call.often(tell);
    };
  }),
  ...["v1", "v1alpha"].map((version) =>
    method(
      `grpc.reflection.${version}.ServerReflection`,
      "ServerReflectionInfo",
      (desc) =>
        (call, { catalogue }) =>
        (message) => {
          const request = fromBinary(desc.input, message) as unknown as { host: string; messageRequest: Question };
          const { apps } = catalogue();
          const shown = apps.filter((app) => call.app === "" || app.name === call.app);
          const services = [...new Set([...shown.flatMap((app) => app.services), ...BUILT_IN_SERVICES])].sort();
          const messageResponse = reflect(request.messageRequest, services, [
            ...shown.map((app) => app.registry),
            BUILT_IN,
          ]);
          call.send(
            toBinary(
              desc.output,
              create(desc.output, { validHost: request.host, originalRequest: request, messageResponse } as never),
            ),
          );
        },
    ),
  ),
  unary("ray.serve.RayServeAPIService", "ListApplications", ({ catalogue }) => ({
    value: { applicationNames: [...catalogue().names].sort() },
  })),
  unary("ray.serve.RayServeAPIService", "Healthz", ({ mesh }) => {
    const why = mesh.notReady();
    return why === null ? { value: { message: "success" } } : { code: GRPC_STATUS.UNAVAILABLE, details: why };
  }),
]);

function method(service: string, name: string, make: (desc: DescMethod) => LocalMethod): [string, LocalMethod] {
  const desc = BUILT_IN.getService(service)!.methods.find((m) => m.name === name)!;
  return [`/${service}/${name}`, make(desc)];
}

function unary(
  service: string,
  name: string,
  answer: (context: BuiltInContext, request: unknown) => Result,
): [string, LocalMethod] {
  return method(service, name, (desc) => (call, context) => (message) => {
    const result = answer(context, fromBinary(desc.input, message));
    if (isVerdict(result)) return call.finish(result);
    call.send(toBinary(desc.output, create(desc.output, result.value as never)));
    call.finish(OK);
  });
}

/** Null: no such service. "" asks for the ingress as a whole. A service is up when a replica of an application that serves it can be used. */
function health(mesh: Mesh, catalogue: Catalogue, service: string): number | null {
  const up = mesh.notReady() === null ? HEALTH.serving : HEALTH.notServing;
  if (service === "" || (BUILT_IN_SERVICES as readonly string[]).includes(service)) return up;
  if (!catalogue.isConfigured(service)) return null;
  const usable = catalogue.apps.some(
    (app) =>
      app.services.includes(service) &&
      mesh.pool(app.name, app.deployment)?.peers.some((peer) => peer.ready && peer.link !== null),
  );
  return usable ? up : HEALTH.notServing;
}
