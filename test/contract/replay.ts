/** Replays the steps of a recording against a running mesh and collects what differs. Steps that aren't one plain request have scripts. */
import type { CommandMesh } from "./command-mesh.ts";
import { compareHttp, compareJson, type Finding } from "./compare.ts";
import { exchange, type RawAnswer } from "./raw.ts";
import type { HttpObserved, HttpRequest, Recording, Step } from "./recording.ts";

/** The host that the recordings were made with; clients of Skein name it too, so that what a handler sees is the same. */
const HOST = "127.0.0.1:8100";

export interface StepFinding extends Finding {
  readonly step: number;
}

export class Replay {
  readonly mesh: CommandMesh;
  readonly recording: Recording;
  readonly port: number;
  readonly findings: StepFinding[] = [];

  private constructor(mesh: CommandMesh, recording: Recording, port: number) {
    this.mesh = mesh;
    this.recording = recording;
    this.port = port;
  }

  static async of(mesh: CommandMesh, recording: Recording): Promise<Replay> {
    // After a shutdown nothing listens for clients: what is sent to port 0 is refused.
    return new Replay(mesh, recording, await mesh.clientPort().catch(() => 0));
  }

  step(index: number): Step {
    const step = this.recording.steps[index];
    if (step === undefined) throw new Error(`${this.recording.id} has no step ${index}.`);
    return step;
  }

  observed<T = HttpObserved>(index: number): T {
    return this.step(index).observed as T;
  }

  /** What differs in an answer over HTTP. */
  http(step: number, got: RawAnswer | "closed", observed: HttpObserved = this.observed(step)): void {
    this.#add(step, compareHttp(observed, got));
  }

  /** What differs in data; `subset`: keys that only Skein has don't count. */
  json(step: number, what: string, ray: unknown, skein: unknown, subset = false): void {
    this.#add(step, compareJson(what, ray, skein, subset));
  }

  #add(step: number, findings: readonly Finding[]): void {
    this.findings.push(...findings.map((finding) => ({ step, ...finding })));
  }

  send(request: HttpRequest, connection?: string): Promise<RawAnswer | "closed"> {
    return exchange(this.port, bytesOf(request, connection), request.method);
  }

  get(path: string, headers: readonly string[] = []): Promise<RawAnswer | "closed"> {
    return this.send({ method: "GET", path, headers });
  }

  async json200(path: string): Promise<unknown> {
    const answer = await this.get(path);
    if (answer === "closed" || answer.status !== 200)
      throw new Error(
        `GET ${path} was answered ${answer === "closed" ? answer : `${answer.status} ${answer.body.toString()}`}.`,
      );
    return JSON.parse(answer.body.toString()) as unknown;
  }
}

/** As the recording client sent it: Host first, then the headers under test, then length and connection. */
export function bytesOf(request: HttpRequest, connection = "connection: close\r\n"): Buffer {
  const body = request.body === undefined ? null : bodyOf(request.body);
  const lines = [
    `host: ${HOST}`,
    ...(request.headers ?? []),
    ...(body === null ? [] : [`content-length: ${body.length}`]),
  ];
  const head = `${request.method} ${request.path} HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join("")}${connection}\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), body ?? Buffer.alloc(0)]);
}

/** `<binary N bytes, …>` stands for bytes 0 to 255, repeated. */
function bodyOf(text: string): Buffer {
  const length = /^<binary (\d+) bytes/.exec(text)?.[1];
  return length === undefined
    ? Buffer.from(text)
    : Buffer.from(Uint8Array.from({ length: Number(length) }, (_, i) => i & 255));
}

/** Every step that is a request, as it stands; `GET /path` in words too. Then `observed` may be parts of the JSON body, or the body. */
export async function replayRequests(replay: Replay): Promise<void> {
  for (const [index, step] of replay.recording.steps.entries()) {
    if (step.results === undefined) await replayRequest(replay, index, step.request, step.observed);
    else for (const result of step.results) await replayRequest(replay, index, result.request, result.observed);
  }
}

export async function replayRequest(
  replay: Replay,
  index: number,
  request: Step["request"],
  observed: unknown,
): Promise<void> {
  if (typeof request === "object") return replay.http(index, await replay.send(request), observed as HttpObserved);
  const path = /^GET (\/\S*)/.exec(request ?? "")?.[1];
  if (path === undefined) throw new Error(`${replay.recording.id} step ${index} needs a script: ${request}`);
  const got = await replay.get(path);
  if (typeof observed === "string") return replay.http(index, got, { body: observed });
  const { status } = observed as { status?: number };
  if (status !== undefined) return replay.http(index, got, observed as HttpObserved);
  if (got === "closed") return replay.http(index, got, { status: 200 });
  replay.json(index, "body", observed, JSON.parse(got.body.toString()), true);
}
