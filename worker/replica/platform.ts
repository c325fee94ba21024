/**
 * What a replica needs of the machine it runs on, Node process or Web Worker. Everything that is not pure comes in here.
 */

export interface Connection {
  send(message: Uint8Array): void;
  close(code: number, reason: string): void;
}

/** After onClose nothing more comes. */
export interface ConnectionEvents {
  onOpen(): void;
  onMessage(message: Uint8Array): void;
  /** Also when it could never be opened. */
  onClose(code: number, reason: string): void;
}

export interface ReplicaPlatform {
  /** ms since 1970. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  /** Calls back once after `ms`; returns how to call it off. Must not keep a process alive by itself. */
  after(ms: number, callback: () => void): () => void;
  /** Calls back at the end of this turn of the event loop. */
  afterTurn(callback: () => void): void;
  /** Dials a data link: WebSocket, binary, compression off. Never throws: what fails comes by onClose. */
  connect(url: string, events: ConnectionEvents): Connection;
  /** Evaluates the bundle and gives its exports. Rejects with what user code throws. */
  importBundle(location: string): Promise<Readonly<Record<string, unknown>>>;
  log(level: "info" | "warn" | "error", text: string): void;
}
