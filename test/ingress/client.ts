/** Whoever asks for something, played by a test: keeps what it got, and fails when an answer ends twice. */
import type { EndHead, FailHead, OpenHttp, ResponseHead } from "../../protocol/heads.ts";
import type { ChunkType, Stream } from "../../protocol/stream.ts";
import type { Forward, Reply } from "../../ingress/forward.ts";

export const httpHead = (over: Partial<OpenHttp> = {}): OpenHttp => ({
  kind: "http",
  app: "app",
  deployment: "D",
  requestId: "r",
  deadlineMs: null,
  epoch: 0,
  hops: 1,
  model: "",
  method: "GET",
  path: "/",
  mount: "",
  scheme: "http",
  headers: [],
  remote: "",
  upgrade: false,
  ...over,
});

export class Client implements Reply {
  heads: ResponseHead[] = [];
  text = "";
  ended: EndHead | null = null;
  failed: FailHead | null = null;
  writable = 0;
  owed = 0;
  forward!: Forward;
  hold = false;
  onHead(head: ResponseHead): void {
    this.heads.push(head);
  }
  onChunk(payload: Uint8Array, _type: ChunkType, _more: boolean, charge: number): void {
    this.text += Buffer.from(payload).toString();
    if (this.hold) this.owed += charge;
    else this.forward.consumed(charge);
  }
  onEnd(end: EndHead): void {
    if (this.over) throw new Error("a second end");
    this.ended = end;
  }
  onFail(fail: FailHead): void {
    if (this.over) throw new Error("a second end");
    this.failed = fail;
  }
  /** Why it was cut off. */
  cut: string | null = null;
  onCut(reason: string): void {
    this.cut = reason;
    this.forward.cancel(reason);
  }
  onWritable(): void {
    this.writable += 1;
  }
  get over(): boolean {
    return this.ended !== null || this.failed !== null;
  }
}

export const bytes = (text: string): Uint8Array => Buffer.from(text);
/** Accepts, answers with one chunk, ends. */
export const answer = (taken: { stream: Stream }, text: string): void => {
  taken.stream.accept();
  taken.stream.head({ status: 200, headers: [] });
  taken.stream.write("bytes", bytes(text));
  taken.stream.end();
};
