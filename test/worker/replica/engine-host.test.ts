/** The engine's host in a replica, over threads that say what the test wants. */
import { expect, test } from "vitest";
import type { EngineThread, LoadedGraph, LoadSpec } from "../../../engine/index.ts";
import type { ModelRequest } from "../../../llm/host.ts";
import { type EngineHostParts, ReplicaEngineHost } from "../../../worker/replica/engine-host.ts";

const GRAPH: LoadedGraph = {
  kind: "graph",
  provider: "webgpu",
  notes: [],
  cpuNodes: ["Det (Det:determinant)", "Slice (a)"],
  inputs: [{ name: "x", type: "float32", shape: ["n"] }],
  outputs: [],
  text: undefined,
};
const REQUEST: ModelRequest = { name: "./x.onnx", device: "auto", slotLength: 8, slots: undefined };

/** A host whose threads load the graph on every provider but those that fail. */
function host(
  failing: Readonly<Record<string, string>> = {},
  graph: LoadedGraph = GRAPH,
  { memory = 0, freeMemory }: { readonly memory?: number; readonly freeMemory?: () => number } = {},
) {
  const said: string[] = [];
  const specs: LoadSpec[] = [];
  let limit = 0;
  const spawn = (): EngineThread => {
    let tell: Parameters<EngineThread["onMessage"]>[0] = () => {};
    return {
      post(message) {
        if (message.type === "close") queueMicrotask(() => tell({ type: "closed" }));
        if (message.type !== "load") return;
        specs.push(message.spec);
        const why = failing[message.spec.provider];
        queueMicrotask(() =>
          tell(
            why === undefined
              ? { type: "loaded", model: graph }
              : { type: "failed", error: { name: "Error", message: why } },
          ),
        );
      },
      onMessage(handler) {
        tell = handler;
        queueMicrotask(() => handler({ type: "ready" }));
      },
      onExit: () => {},
      terminate: () => {},
    };
  };
  const parts: EngineHostParts = {
    options: {
      spec: { gpus: 1, cpus: 2.5, memory, replica: "app#D#1" } as never,
      device: "auto",
      allowSoftwareGpu: false,
    },
    available: async () => ["webgpu", "native"],
    locate: async () => ({ kind: "prepared", directory: "/x" }),
    open: async () => ({ directory: "/x" }),
    spawn,
    ...(freeMemory && { freeMemory }),
    after: () => () => {},
    onProgress: () => {},
    onLoaded: (slots) => void (limit = slots),
    onDead: () => {},
    log: (level, text) => void said.push(`${level} ${text}`),
  };
  return { host: new ReplicaEngineHost(parts), said, specs, limit: () => limit };
}

test("nodes that a GPU leaves to the CPU are a warning with their names, the first of many", async () => {
  const { host: engines, said, specs, limit } = host();
  const model = await engines.load({ ...REQUEST, warmUp: [{ x: [1] }] });
  expect(model).toMatchObject({ kind: "graph", provider: "webgpu", cpuNodes: GRAPH.cpuNodes });
  expect(said).toEqual([
    "warn ./x.onnx: nodes that the GPU has no kernel for run on the CPU: Det (Det:determinant), Slice (a)",
  ]);
  expect(specs[0]).toMatchObject({ provider: "webgpu", threads: 2, warmUp: [{ x: [1] }] });
  expect(limit()).toBe(64);
  const many = host({}, { ...GRAPH, cpuNodes: Array.from({ length: 60 }, (_, i) => `Slice (s${i})`) });
  await many.host.load(REQUEST);
  expect(many.said[0]).toMatch(/Slice \(s0\), .*Slice \(s49\), and 10 more$/);
  await engines.close();
});

test("a GPU that computes wrongly is passed over, and its reason told", async () => {
  const wrong = "no provider could load the model (webgpu: the GPU's numbers are not the CPU's: y is off)";
  const { host: engines, said, specs } = host({ webgpu: wrong }, { ...GRAPH, provider: "native", cpuNodes: [] });
  expect((await engines.load(REQUEST)).provider).toBe("native");
  expect(specs.map(({ provider }) => provider)).toEqual(["webgpu", "native"]);
  expect(said).toEqual([`warn webgpu: ${wrong}`]);
});

test("memory is the replica's option, else the machine's; who says how many slots gets them", async () => {
  const freeMemory = (): number => 5_000;
  const specOf = async (given: { readonly memory?: number; readonly freeMemory?: () => number }, slots?: number) => {
    const { host: engines, specs } = host({}, GRAPH, given);
    await engines.load({ ...REQUEST, slots });
    return specs[0]!;
  };
  expect(await specOf({ memory: 1_000, freeMemory })).toMatchObject({ slots: 8, memory: 1_000 });
  expect(await specOf({ freeMemory })).toMatchObject({ slots: 8, memory: 5_000 });
  expect(await specOf({})).toMatchObject({ slots: 8, memory: Infinity });
  const said = await specOf({ memory: 1_000, freeMemory }, 3);
  expect(said).toMatchObject({ slots: 3 });
  expect(said).not.toHaveProperty("memory");
});
