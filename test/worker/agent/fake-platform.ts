/** A platform on virtual time: a coordinator's end of the control link to play by hand, children that do what a test says. */
import type { Manifest } from "../../../protocol/artefact.ts";
import {
  parseToCoordinator,
  type FromCoordinator,
  type IngressSpec,
  type ToCoordinator,
  type WorkerReport,
} from "../../../protocol/control.ts";
import type {
  FromIngress,
  FromReplica,
  LocatedModel,
  ReplicaOptions,
  ToIngress,
  ToReplica,
} from "../../../protocol/local.ts";
import type {
  AgentPlatform,
  Child,
  ChildEvents,
  ControlConnection,
  ControlConnectionEvents,
  LogRequest,
} from "../../../worker/agent/platform.ts";

export class FakeChild<To, From> implements Child<To> {
  readonly pid: number;
  readonly told: To[] = [];
  killed = false;
  readonly events: ChildEvents<From>;
  constructor(pid: number, events: ChildEvents<From>) {
    this.pid = pid;
    this.events = events;
  }
  tell(message: To): void {
    this.told.push(message);
  }
  kill(): void {
    if (this.killed) return;
    this.killed = true;
    this.events.onExit("killed");
  }
}

export class FakeReplica extends FakeChild<ToReplica, FromReplica> {
  readonly options: ReplicaOptions;
  constructor(pid: number, events: ChildEvents<FromReplica>, options: ReplicaOptions) {
    super(pid, events);
    this.options = options;
  }
  says(state: "starting" | "ready" | "unhealthy" | "stopping" | "failed", error?: string): void {
    this.events.onMessage({
      type: "status",
      state,
      userConfigVersion: this.options.spec.userConfigVersion,
      ongoing: 0,
      ...(error === undefined ? {} : { error }),
    });
  }
}

/** The coordinator's end of one connection. */
export class FakeConnection implements ControlConnection {
  readonly url: string;
  readonly #events: ControlConnectionEvents;
  readonly received: ToCoordinator[] = [];
  closed: string | null = null;
  welcomed = false;
  constructor(url: string, events: ControlConnectionEvents) {
    this.url = url;
    this.#events = events;
  }
  send(message: string): void {
    this.received.push(parseToCoordinator(message));
  }
  close(reason: string): void {
    this.closed ??= reason;
  }
  open(): void {
    this.#events.onOpen();
  }
  say(message: FromCoordinator | string): void {
    this.#events.onMessage(typeof message === "string" ? message : JSON.stringify(message));
  }
  welcome(term = 1, ticket = `ticket of term ${term}`): void {
    this.open();
    this.welcomed = true;
    this.say({ type: "welcome", ticket, term, timeMs: 0, keys: [] });
  }
  break(reason = "broken"): void {
    this.closed ??= reason;
    this.#events.onClose(reason);
  }
  get reports(): WorkerReport[] {
    return this.received.filter((message) => message.type === "report");
  }
  get lastReport(): WorkerReport {
    const report = this.reports.at(-1);
    if (report === undefined) throw new Error("nothing was reported");
    return report;
  }
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

export class FakePlatform implements AgentPlatform {
  time = 1_000_000;
  chance = 0.5;
  readonly connections: FakeConnection[] = [];
  readonly replicas: FakeReplica[] = [];
  readonly ingresses: FakeChild<ToIngress, FromIngress>[] = [];
  readonly ingressSpecs: IngressSpec[] = [];
  readonly tickets: string[] = [];
  readonly logRequests: LogRequest[] = [];
  /** Fails this many fetches of code. */
  fetchFailures = 0;
  fetches = 0;
  model: () => Promise<LocatedModel> = () => Promise.resolve({ kind: "prepared", directory: "/models/x" });
  #timers: Timer[] = [];
  #pid = 100;

  now(): number {
    return this.time;
  }
  random(): number {
    return this.chance;
  }
  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.time + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }
  /** The coordinator pings a link that is up, twice a second. */
  heartbeat = true;

  /** Runs the virtual clock, and what promises bring with it. */
  async pass(ms: number): Promise<void> {
    for (let rest = ms; rest > 0; rest -= 500) {
      const connection = this.connections.at(-1);
      if (this.heartbeat && connection?.welcomed === true && connection.closed === null)
        connection.say({ type: "ping" });
      await this.#run(Math.min(rest, 500));
    }
  }

  async #run(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await settled();
      const next = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.time = Math.max(this.time, next.at);
      next.callback();
    }
    this.time = end;
    await settled();
  }

  connect(url: string, events: ControlConnectionEvents): ControlConnection {
    const connection = new FakeConnection(url, events);
    this.connections.push(connection);
    return connection;
  }
  get connection(): FakeConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error("it never dialled");
    return last;
  }

  fetchManifest(): Promise<Manifest> {
    this.fetches += 1;
    if (this.fetchFailures > 0) {
      this.fetchFailures -= 1;
      return Promise.reject(new Error("The code could not be fetched."));
    }
    return Promise.resolve({ schema: 1 } as unknown as Manifest);
  }
  fetchBundle(): Promise<string> {
    return Promise.resolve("/bundles/x.mjs");
  }
  locateModel(
    _name: string,
    _provider: string,
    _ticket: string,
    onProgress: (doing: string, leftS?: number) => void,
  ): Promise<LocatedModel> {
    onProgress("converting: 50 %", 7);
    return this.model();
  }
  startReplica(options: ReplicaOptions, events: ChildEvents<FromReplica>): Child<ToReplica> {
    const replica = new FakeReplica((this.#pid += 1), events, options);
    this.replicas.push(replica);
    return replica;
  }
  replica(index = -1): FakeReplica {
    const replica = this.replicas.at(index);
    if (replica === undefined) throw new Error("no replica was started");
    return replica;
  }
  startIngress: ((spec: IngressSpec, events: ChildEvents<FromIngress>) => Child<ToIngress>) | null = (spec, events) => {
    const child = new FakeChild<ToIngress, FromIngress>((this.#pid += 1), events);
    this.ingresses.push(child);
    this.ingressSpecs.push(spec);
    return child;
  };
  sendLog(request: LogRequest): void {
    this.logRequests.push(request);
  }
  keepTicket(ticket: string): void {
    this.tickets.push(ticket);
  }
}

/** Lets every promise that is ready run. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
