/**
 * The bug bank: one-line mistakes that somebody could make in shipping code, as data. Each must be caught by an invariant of the simulation
 * within BANK_SEEDS_MAX seeds: this measures the tester. White space in `text` stands for any white space, so that formatting is free.
 */
export interface Bug {
  readonly name: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly text: string;
  readonly replacement: string;
  readonly breaks: string;
  /** The first seed that catches it, found by `run-main.ts --bank`. */
  readonly seed: number;
}

export const BANK_SEEDS_MAX = 200;

export const BANK: readonly Bug[] = [
  {
    name: "attempts-share-an-epoch", file: "ingress/forward.ts", seed: 1,
    text: "this.#epoch += 1;",
    replacement: "this.#epoch = 0;",
    breaks: "what an earlier attempt still says can't be told from the present one's",
  },
  {
    name: "stream-credit-is-not-granted", file: "protocol/stream.ts", seed: 1,
    text: "this.#link.emit(KIND.credit, 0, this.epoch, this.id, this.#ungranted);",
    replacement: "",
    breaks: "a stream stops for ever when its first window is used up",
  },
  {
    name: "kept-chunks-keep-link-credit", file: "protocol/stream.ts", seed: 1,
    text: "this.#link.returned(charge);",
    replacement: "",
    breaks: "what is kept for a slow reader is never paid back to the link",
  },
  {
    name: "dropped-chunks-keep-link-credit", file: "protocol/link.ts", seed: 1,
    text: "if (frame.kind === KIND.chunk) this.returned(frame.payload.byteLength + FRAME_HEADER);",
    replacement: "",
    breaks: "chunks that come late for a closed stream are never paid back to the link",
  },
  {
    name: "assignments-are-sent-once", file: "coordinator/loop.ts", seed: 7,
    text: "if (nowMs - told.sentAtMs >= RESEND_AFTER_MS) {",
    replacement: "if (nowMs < 0) {",
    breaks: "an assignment or a table that gets lost is never sent again",
  },
  {
    name: "recovery-is-skipped", file: "coordinator/state.ts", seed: 19,
    text: "recovery: known ?",
    replacement: "recovery: known && start.nowMs < 0 ?",
    breaks: "after its restart a coordinator places anew what is running already",
  },
  {
    name: "older-assignments-are-taken", file: "worker/agent/reconcile.ts", seed: 6,
    text: "compareVersions(offered.version, held.version) < 0 ? held : offered",
    replacement: "compareVersions(offered.version, held.version) < -1e9 ? held : offered",
    breaks: "an agent goes back to what a coordinator of an earlier term wants",
  },
  {
    name: "older-tables-are-taken", file: "ingress/mesh.ts", seed: 6,
    text: "compareVersions(table.version, this.table.version) < 0) return false;",
    replacement: "compareVersions(table.version, this.table.version) < -1e9) return false;",
    breaks: "an ingress goes back to an old routing table",
  },
  {
    name: "unsafe-requests-are-repeated", file: "ingress/retry.ts", seed: 25,
    text: "lost.repeatable && !lost.produced",
    replacement: "!lost.produced",
    breaks: "a plain POST runs twice when its replica dies",
  },
  {
    name: "answers-are-restarted", file: "ingress/retry.ts", seed: 4,
    text: "lost.repeatable && !lost.produced",
    replacement: "lost.repeatable",
    breaks: "a stream whose replica died begins again in the middle of its answer",
  },
  {
    name: "retries-count-no-deaths", file: "ingress/retry.ts", seed: 12,
    text: "lost.deaths < DEATHS_MAX",
    replacement: "lost.deaths < 100",
    breaks: "a request that kills replicas is sent to one after the other",
  },
  {
    name: "nothing-is-retried", file: "ingress/forward.ts", seed: 150,
    text: "&& budget.take(context.now(), this.#pool.ongoing)",
    replacement: "&& false",
    breaks: "a GET fails when its replica dies",
  },
  {
    name: "completions-wake-nobody", file: "ingress/pool.ts", seed: 1,
    text: "if (this.#queue.length > 0) this.pump();",
    replacement: "",
    breaks: "a request waits for the next tick beside a free replica",
  },
  {
    name: "busy-is-no-answer", file: "ingress/forward.ts", seed: 2,
    text: "if (this.#forward.isCurrent(this)) this.#forward.busy(this, load);",
    replacement: "if (this.#forward.isCurrent(this)) void load;",
    breaks: "a request that a full replica refused waits until its deadline",
  },
  {
    name: "draining-replicas-are-picked", file: "ingress/mesh.ts", seed: 1,
    text: 'peer.ready = routed.state === "ready";',
    replacement: "peer.ready = true;",
    breaks: "requests go to replicas that the table says are draining",
  },
  {
    name: "replicas-take-too-much", file: "worker/replica/replica.ts", seed: 2,
    text: "this.#running.size >= limit",
    replacement: "this.#running.size > limit + 1",
    breaks: "a replica runs more than max_ongoing_requests",
  },
  {
    name: "cancel-stays-here", file: "ingress/forward.ts", seed: 2,
    text: "attempt.stream.cancel(reason);",
    replacement: "void reason;",
    breaks: "a replica works on for a client that has gone",
  },
  {
    name: "cancel-stays-at-the-switch", file: "ingress/switch.ts", seed: 37,
    text: "this.#forward.cancel(reason);",
    replacement: "void reason;",
    breaks: "a called deployment works on for a caller that has gone",
  },
  {
    name: "silence-is-not-noticed", file: "protocol/link.ts", seed: 8,
    text: "if (now - this.#heardAt > LINK_SILENCE_MAX_MS) {",
    replacement: "if (now < 0) {",
    breaks: "a half-open data link is used until its requests time out",
  },
  {
    name: "silent-coordinators-are-waited-for", file: "worker/agent/control-link.ts", seed: 3,
    text: "now - this.#heardAt > CONTROL_SILENCE_MAX_MS",
    replacement: "now < 0",
    breaks: "an agent on a half-open control link is lost until somebody starts it again",
  },
  {
    name: "drain-waits-for-nobody", file: "worker/replica/replica.ts", seed: 17,
    text: "while (this.#running.size > 0 && this.platform.now() < until)",
    replacement: "while (this.platform.now() < 0)",
    breaks: "a roll-out ends requests that run",
  },
  {
    name: "stopped-replicas-keep-their-place", file: "coordinator/peers.ts", seed: 1,
    text: 'if (replica.seen || (replica.phase === "stopping" && event.confirmed)) next = withoutReplica(next, replica);',
    replacement: 'if (replica.seen && replica.phase !== "stopping") next = withoutReplica(next, replica);',
    breaks: "a replica that has ended keeps its resources and its name for ever",
  },
  {
    name: "draining-costs-nothing", file: "coordinator/place.ts", seed: 17,
    text: "if (replica.worker === worker.id) take(room, replica.reserved,",
    replacement: 'if (replica.worker === worker.id && replica.phase !== "stopping") take(room, replica.reserved,',
    breaks: "a worker is given new replicas while old ones still drain",
  },
  {
    name: "older-processes-may-join", file: "coordinator/sessions.ts", seed: 2,
    text: "if (join.incarnation < Math.max(known, other?.incarnation ?? -1))",
    replacement: "if (join.incarnation < 0)",
    breaks: "a join of a worker's former process, late on the wire, takes the place of the present one's",
  },
  {
    name: "revoked-tickets-are-good", file: "coordinator/planned.ts", seed: 10,
    text: "withoutWorker(state, worker, true)",
    replacement: "state",
    breaks: "a worker that is gone keeps its replicas in the books",
  },
  {
    name: "incarnations-are-not-compared", file: "coordinator/peers.ts", seed: 37,
    text: "reported: before?.incarnation === event.incarnation && before.reported,",
    replacement: "reported: before?.reported ?? false,",
    breaks: "replicas are placed on a restarted worker before it has said what it holds",
  },
  {
    name: "take-over-without-fence", file: "coordinator/store/desired.ts", seed: 1,
    text: "new DesiredStore(store, revision)",
    replacement: "new DesiredStore(store, entry?.revision ?? 0)",
    breaks: "a new coordinator's writes conflict",
  },
  {
    name: "acceptance-wakes-nobody", file: "ingress/forward.ts", seed: 3,
    text: "this.#pool.pump();",
    replacement: "",
    breaks: "room that an acceptance tells of is not used (once in shipping code)",
  },
  {
    name: "waiting-for-a-body-for-ever", file: "worker/replica/http.ts", seed: 47,
    text: "if (body !== null) work.context.onCancel((reason) => body.fail(reason));",
    replacement: "",
    breaks: "a handler whose request's deadline has passed waits for the rest of the body (once in shipping code)",
  },
  {
    name: "pings-are-a-welcome", file: "worker/agent/control-link.ts", seed: 8,
    text: "now - this.#dialledAt > JOIN_TIMEOUT_MS",
    replacement: "now - this.#heardAt > JOIN_TIMEOUT_MS",
    breaks: "a worker whose welcome was lost never joins (once in shipping code)",
  },
  {
    name: "the-ingress-moves-to-who-joins", file: "coordinator/project.ts", seed: 12,
    text: 'const nodes = Object.values(state.workers).filter((w) => w.capabilities.kind === "node"); const head',
    replacement: 'const nodes = Object.values(state.workers).filter((w) => w.capabilities.kind === "node").sort((a, b) => (a.id < b.id ? -1 : 1)); const head',
    breaks: "two workers of one host are given the ingress in turn while they join (once in shipping code)",
  },
  {
    name: "links-end-with-the-address", file: "worker/replica/replica.ts", seed: 2,
    text: "link.retire();",
    replacement: 'link.close(CLOSE.goingAway, "This ingress is no longer used.");',
    breaks: "an ingress that drains loses the requests that it drains (once in shipping code)",
  },
];
