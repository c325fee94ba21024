/**
 * Local testing: an application in one process, without a mesh. Handles call instances directly; nothing is serialised, so a test sees
 * the same objects; resources, replicas and limits have no meaning here. Errors and cancellation are what they are over a mesh.
 */
import { SkeinError } from "../protocol/errors.ts";
import { iteratorOf } from "./answer.ts";
import { callerError } from "./caller-error.ts";
import { RequestContext, runWithContext, type Context, type ReplicaContext } from "./context.ts";
import type { Application } from "./deployment.ts";
import { graphOf, placeHandles, type GraphNode } from "./graph.ts";
import { makeHandle, type Call, type Caller, type DeploymentHandle } from "./handle.ts";
import { Instance } from "./instance.ts";
import { runtime } from "./runtime.ts";

/**
 * Constructs every deployment of the application here and gives a handle of its ingress. Throws what constructors and `init` throw.
 * Calls fail as over a mesh: with a SkeinError, usually `APPLICATION_ERROR`; its `cause` is what user code threw.
 */
export async function localTesting<T>(application: Application<T>, name = "default"): Promise<DeploymentHandle<T>> {
  ambientContexts();
  const graph = await graphOf(application as Application);
  const instances = new Map<string, Instance>();
  const caller = new LocalCaller(name, instances);
  // Callees come before their callers, so that a constructor may call its handles.
  const start = async (node: GraphNode): Promise<void> => {
    if (instances.has(node.name)) return;
    for (const callee of node.callees) await start(graph.nodes.find((n) => n.name === callee)!);
    const args = placeHandles(node.args, (deployment) => makeHandle(caller, { app: name, deployment }));
    const instance = new Instance(node.name, node.target, args);
    instances.set(node.name, instance);
    await instance.start(name, node.options["user_config"]);
  };
  for (const node of graph.nodes) await start(node);
  return makeHandle<T>(caller, { app: name, deployment: graph.ingress });
}

class LocalCaller implements Caller {
  readonly #app: string;
  readonly #instances: ReadonlyMap<string, Instance>;
  #requests = 0;

  constructor(app: string, instances: ReadonlyMap<string, Instance>) {
    this.#app = app;
    this.#instances = instances;
  }

  async unary(call: Call): Promise<unknown> {
    const { instance, context, leave } = this.#enter(call);
    try {
      return await Promise.race([
        runWithContext(context, () => instance.call(call.method, call.args, context)),
        cancelled(context),
      ]);
    } catch (error) {
      throw callerError(error);
    } finally {
      leave();
    }
  }

  async *stream(call: Call): AsyncGenerator<unknown> {
    const { instance, context, leave } = this.#enter(call);
    const calledOff = cancelled(context);
    let pieces: AsyncIterator<unknown> | Iterator<unknown> | undefined;
    try {
      pieces = iteratorOf(await runWithContext(context, () => instance.iterate(call.method, call.args, context)));
      for (;;) {
        const step = await Promise.race([runWithContext(context, () => pieces!.next()), calledOff]);
        if (step.done === true) {
          pieces = undefined;
          return;
        }
        yield step.value;
      }
    } catch (error) {
      throw callerError(error);
    } finally {
      // Left before its end: the signal first, then the generator's return(), which alone can't interrupt a pending await.
      context.cancel(new SkeinError("CANCELLED", "The caller left."));
      Promise.resolve(pieces?.return?.()).catch(() => {});
      leave();
    }
  }

  #enter(call: Call): { instance: Instance; context: RequestContext; leave: () => void } {
    const { deployment } = call.target;
    const instance = this.#instances.get(deployment);
    if (instance === undefined)
      throw new SkeinError("NOT_FOUND", `Deployment(name='${deployment}', app='${this.#app}') does not exist.`);
    const replica: ReplicaContext = {
      appName: this.#app,
      deployment,
      replicaId: `${this.#app}#${deployment}#local`,
      workerId: "local",
      hostId: "local",
      rank: 0,
      routePrefix: null,
      kind: "local",
    };
    const context = new RequestContext({
      requestId: call.origin?.requestId ?? `local-${++this.#requests}`,
      deadline: call.origin?.deadline ?? null,
      multiplexedModelId: call.model,
      replica,
      hops: call.origin?.hops ?? 0,
    });
    const stop = call.origin?.onCancel((reason) => context.cancel(reason));
    const onAbort = (): void => context.cancel(SkeinError.from(call.signal?.reason, "CANCELLED"));
    if (call.signal?.aborted === true) onAbort();
    call.signal?.addEventListener("abort", onAbort, { once: true });
    return {
      instance,
      context,
      leave: () => {
        stop?.();
        call.signal?.removeEventListener("abort", onAbort);
      },
    };
  }
}

/** Rejects when the request is called off; never resolves. */
function cancelled(context: RequestContext): Promise<never> {
  const calledOff = new Promise<never>((_, reject) => void context.onCancel(reject));
  calledOff.catch(() => {});
  return calledOff;
}

/** Node's ambient storage, where this is Node and no replica has set it: `getContext()` works in tests too. */
function ambientContexts(): void {
  if (runtime().contexts !== null || typeof process === "undefined") return;
  const { AsyncLocalStorage } = process.getBuiltinModule("node:async_hooks");
  const storage = new AsyncLocalStorage<Context>();
  runtime().contexts = { run: (context, body) => storage.run(context, body), current: () => storage.getStore() };
}
