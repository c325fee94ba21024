/** Areas batch and multiplex: requests side by side, and one after the other with a model each. */
import type { RawAnswer } from "../raw.ts";
import { RawConnection } from "../raw.ts";
import type { HttpObserved, HttpRequest } from "../recording.ts";
import { bytesOf, type Replay } from "../replay.ts";

const pathOf = (request: string | HttpRequest | undefined): string =>
  typeof request === "object" ? request.path : (/^GET (\S+)/.exec(request ?? "")?.[1] ?? "");

/** Steps that differ only in `x` are sent at the same time. */
export async function sideBySide(replay: Replay): Promise<void> {
  const groups = Map.groupBy(replay.recording.steps.entries(), ([, step]) =>
    pathOf(step.request).replace(/x=\w+/, "x"),
  );
  for (const group of groups.values()) {
    const answers = await Promise.all(group.map(([, step]) => replay.get(pathOf(step.request))));
    for (const [i, [index]] of group.entries()) replay.http(index, answers[i]!, untimed(replay.observed(index)));
  }
}

const untimed = ({ status, body, headers, framing, end }: HttpObserved): HttpObserved =>
  ({ status, body, headers, framing, end }) as HttpObserved;

/** C136: one caller leaves while its batch is being gathered. The sizes are those of C132 and then its own. */
export async function leavingABatch(replay: Replay): Promise<void> {
  const connection = await RawConnection.open(replay.port);
  connection.send(bytesOf({ method: "GET", path: "/b?m=ok&x=gone" }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const stay = replay.get(pathOf(replay.step(0).request));
  connection.close();
  replay.http(0, await stay, untimed(replay.observed(0)));
  replay.http(1, await replay.get(pathOf(replay.step(1).request)));
}

interface Model {
  readonly mid: string;
  readonly model: string;
  readonly loads: readonly string[];
  readonly replica: string;
}
const ask = (replay: Replay, path: string, model: string): Promise<RawAnswer | "closed"> =>
  replay.get(path, [`serve_multiplexed_model_id: ${model}`]);
const modelOf = (answer: RawAnswer | "closed"): Model =>
  JSON.parse(answer === "closed" ? "{}" : answer.body.toString()) as Model;

/** C137: eight for one model, one after the other. */
export async function oneModel(replay: Replay): Promise<void> {
  const got: Model[] = [];
  for (let i = 0; i < 8; i += 1) got.push(modelOf(await ask(replay, "/mux", "1")));
  replay.json(0, "models", replay.observed(0), {
    distinct_replicas: new Set(got.map(({ replica }) => replica)).size,
    loads_total: got.at(-1)!.loads.length,
    model: got[0]!.model,
    mid: got[0]!.mid,
  });
}

/** C138: which models were loaded, request by request. */
export async function leastRecentlyUsed(replay: Replay): Promise<void> {
  for (const [step, { request }] of replay.recording.steps.entries()) {
    const model = /model (\w+)$/.exec(String(request))?.[1];
    const answer = model === undefined ? await replay.get("/mux1") : await ask(replay, "/mux1", model);
    const observed = replay.observed<HttpObserved & { loads_so_far?: readonly string[] }>(step);
    if (observed.loads_so_far === undefined) replay.http(step, answer, observed);
    else replay.json(step, "loads_so_far", observed.loads_so_far, modelOf(answer).loads);
  }
}
