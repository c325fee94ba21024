/** Areas rest and rest-validation: the operators' API. */
import type { Replay } from "../replay.ts";

interface ApiObserved {
  readonly status: number;
  readonly content_type?: string | null;
  readonly body?: unknown;
}
interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
}

/** Steps that are one request to the API: status, content type, body. */
export async function apiRequests(replay: Replay): Promise<void> {
  for (const [step, { request }] of replay.recording.steps.entries()) {
    const { method, path, json } = request as ApiRequest;
    const { status, content_type: type, body } = replay.observed<ApiObserved>(step);
    const answer = await replay.mesh.api(method, path, json);
    replay.json(step, "status", status, answer.status);
    if (status === answer.status) replay.json(step, "content_type", type ?? null, answer.type);
    if (status !== answer.status) continue;
    if (status === 400) refusal(replay, step, String(body), answer.text);
    else replay.json(step, "body", body, answer.text);
  }
}

/** How many errors, the paths, and the sentences that are Ray's own (`Value error, ...`). The others are pydantic's, here zod's. */
function refusal(replay: Replay, step: number, ray: string, skein: string): void {
  const first = (text: string): string => text.split("\n")[0] ?? "";
  replay.json(step, "refusal.count", first(ray), first(skein));
  for (const [path] of ray.matchAll(
    /^(?:applications|http_options|grpc_options|target_capacity|proxy_location)[\w.]*$/gm,
  ))
    if (!skein.split("\n").includes(path)) replay.json(step, "refusal.path", path, skein);
  for (const [, sentence = ""] of ray.matchAll(/^ *Value error, ([^[]*?) \[type/gm))
    if (!skein.includes(sentence)) replay.json(step, "refusal.sentence", sentence, skein);
}

/** Steps of the form `POST <path> <body>`, answered with JSON; and looks at the states in between. */
export async function scaling(replay: Replay): Promise<void> {
  for (const [step, { request }] of replay.recording.steps.entries()) {
    const [, method, path, body] = /^(POST) (\S+) (.*)$/.exec(String(request)) ?? [];
    if (method === undefined) {
      await replay.mesh.settled(Object.keys((await replay.mesh.status()).applications).length);
      continue;
    }
    const observed = replay.observed<ApiObserved>(step);
    const answer = await replay.mesh.api(method, path ?? "", body);
    replay.json(step, "status", observed.status, answer.status);
    if (observed.status === 400)
      refusal(
        replay,
        step,
        (observed.body as { error: string }).error,
        (JSON.parse(answer.text) as { error: string }).error,
      );
    else replay.json(step, "body", observed.body, JSON.parse(answer.text));
  }
}

/** C079, C088-b, X-REST-04: an application as GET shows it. `nameOf` finds it in the step's request. */
export const applications =
  (names: readonly string[]) =>
  async (replay: Replay): Promise<void> => {
    for (const [step, name] of names.entries()) {
      const { json, deployment_topology: topology } = replay.observed<{
        json?: { applications?: Record<string, object> };
        deployment_topology?: object;
      }>(step);
      const app = await replay.mesh.application(name);
      if (topology !== undefined) replay.json(step, "deployment_topology", topology, app.deployment_topology);
      if (json === undefined) continue;
      if (json.applications === undefined) replay.json(step, "app", json, app);
      else {
        const {
          applications: ray,
          controller_info: _,
          controller_health_metrics: _metrics,
          http_options: _http,
          grpc_options: _grpc,
          proxies: _proxies,
          target_groups: _groups,
          ...top
        } = json as Record<string, unknown>;
        replay.json(step, "app", (ray as Record<string, object>)[name], app);
        replay.json(step, "top", top, await replay.mesh.status(), true);
      }
    }
  };

/** C067: DELETE ends everything; then it starts again. */
export async function shutdown(replay: Replay): Promise<void> {
  const { mesh } = replay;
  const path = "/api/serve/applications/";
  const remove = async (step: number): Promise<void> => {
    const { status, body } = replay.observed<ApiObserved>(step);
    const answer = await mesh.api("DELETE", path);
    replay.json(step, "answer", { status, body }, { status: answer.status, body: answer.text });
  };
  await remove(0);
  const answer = await replay.get("/e").then(
    (got) => (got === "closed" ? got : String(got.status)),
    () => "connection refused",
  );
  replay.json(1, "answer", "connection refused", answer);
  replay.json(2, "json", replay.observed<{ json: object }>(2).json, await mesh.status(), true);
  await remove(3);
  const put = await mesh.api("PUT", path, { applications: [] });
  replay.json(4, "answer", { status: 200, body: "" }, { status: put.status, body: put.text });
  replay.json(5, "json", replay.observed(5), await mesh.status(), true);
  await mesh.api("DELETE", path);
}
