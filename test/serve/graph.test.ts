import { expect, test } from "vitest";
import { applicationOf, graphEntry, graphOf } from "../../serve/graph.ts";
import { deployment, localTesting, type Application, type DeploymentHandle } from "../../serve/index.ts";

class Leaf {
  readonly tag: string;
  constructor(tag = "leaf") {
    this.tag = tag;
  }
  name() {
    return this.tag;
  }
}
class Root {
  readonly leaves: DeploymentHandle<Leaf>[];
  constructor(a: DeploymentHandle<Leaf>, b: DeploymentHandle<Leaf>) {
    this.leaves = [a, b];
  }
  async names() {
    return Promise.all(this.leaves.map((leaf) => leaf.name()));
  }
}
const L = deployment(Leaf, { numReplicas: 2, rayActorOptions: { numCpus: 0.5, numGpus: "auto" } });

test("the graph has names, options in snake_case and callees; shared leaves are one, equal names are told apart", async () => {
  const leaf = L.bind("x");
  const graph = await graphOf(deployment(Root).bind(leaf, leaf) as Application);
  expect(graph.ingress).toBe("Root");
  expect(graph.nodes.map((n) => [n.name, n.callees])).toEqual([
    ["Leaf", []],
    ["Root", ["Leaf"]],
  ]);
  expect(graphEntry(graph.nodes[0]!, false)).toEqual({
    name: "Leaf",
    options: { num_replicas: 2, ray_actor_options: { num_cpus: 0.5, num_gpus: "auto" } },
    callees: [],
    reconfigurable: false,
    usesEngine: false,
  });
  const two = await graphOf(deployment(Root).bind(L.bind("x"), L.bind("y")) as Application);
  expect(two.nodes.map((n) => n.name)).toEqual(["Leaf", "Leaf_1", "Root"]);
  expect(await (await localTesting(deployment(Root).bind(L.bind("x"), L.bind("y")))).names()).toEqual(["x", "y"]);
});

test("the hash is the same for the same graph and differs with options and arguments", async () => {
  const hash = async (app: unknown) => (await graphOf(app as Application)).hash;
  expect(await hash(L.bind("x"))).toBe(await hash(L.bind("x")));
  expect(await hash(L.bind("x"))).not.toBe(await hash(L.bind("y")));
  expect(await hash(L.bind("x"))).not.toBe(await hash(L.options({ numReplicas: 3 }).bind("x")));
});

test("an export is an application or builds one; anything else is refused with what it is (C174)", async () => {
  const builder = (args: { tag: string }) => L.bind(args.tag);
  expect((await applicationOf(builder, { tag: "z" })).args).toEqual(["z"]);
  const cases: [unknown, Record<string, unknown>, RegExp][] = [
    [
      L,
      {},
      /Expected a built Skein application or an application builder function but got: a Deployment \('Leaf'\); call \.bind\(\) on it/,
    ],
    [Leaf, {}, /but got: the class 'Leaf'; write deployment\(Leaf\)\.bind\(\)/],
    [3, {}, /but got: number/],
    [undefined, {}, /but got: undefined/],
    [(_a: unknown, _b: unknown) => L.bind(), {}, /exactly one parameter/],
    [() => "no", {}, /must return an `Application` .* but got: string/],
    [L.bind(), { a: 1 }, /Arguments can only be passed to an application builder function/],
  ];
  for (const [exported, args, message] of cases) await expect(applicationOf(exported, args)).rejects.toThrow(message);
});

test("options are checked where they are written", () => {
  expect(() => deployment(Leaf, { numReplica: 2 } as never)).toThrow(/Deployment 'Leaf' has no option 'numReplica'/);
  expect(() => deployment(Leaf, { num_replicas: 2 } as never)).toThrow(/Did you mean 'numReplicas'/);
  expect(() => deployment(Leaf, { maxOngoingRequests: 0 })).toThrow(/Deployment 'Leaf': max_ongoing_requests/);
  expect(() => deployment(Leaf, { rayActorOptions: { numCpu: 1 } as never })).toThrow(
    /rayActorOptions has no option 'numCpu'/,
  );
  expect(() => deployment((() => "x") as () => string)).toThrow(/needs a name/);
});

test("a decorator's options are those of the class; functions and objects with fetch are deployments", async () => {
  class Decorated {}
  (deployment({ numReplicas: 4 }) as (c: unknown, x: unknown) => void)(Decorated, {});
  expect(deployment(Decorated).wire).toEqual({ num_replicas: 4 });
  expect(deployment(Decorated, { numReplicas: 5 }).wire).toEqual({ num_replicas: 5 });
  async function twice(n: number) {
    return n * 2;
  }
  expect(await (await localTesting(deployment(twice).bind()))(4)).toBe(8);
  expect(deployment({ fetch: () => "x" }, { name: "api" }).bind().deployment.name).toBe("api");
});

test("a user config needs reconfigure, which runs after init", async () => {
  const log: string[] = [];
  class Configured {
    init() {
      log.push("init");
    }
    reconfigure(config: unknown) {
      log.push(JSON.stringify(config));
    }
  }
  await localTesting(deployment(Configured, { userConfig: { a: 1 } }).bind());
  expect(log).toEqual(["init", '{"a":1}']);
  await expect(localTesting(deployment(Leaf, { userConfig: { a: 1 } }).bind())).rejects.toThrow(
    "user_config specified but deployment Deployment(name='Leaf', app='default') missing reconfigure method",
  );
});
