/** A thread that tries grammars, in a tab: a dedicated Web Worker's entry, with `xgrammar.js` beside it. */
import { serveChecks, type ToCheck } from "./grammar/check-thread.ts";
import { loadXGrammar } from "./grammar/xgrammar.ts";

/** The part of a worker's global scope that is used: the DOM library's types are for pages. */
const scope = self as unknown as Pick<Worker, "postMessage" | "addEventListener">;
const XGRAMMAR = new URL("./xgrammar.js", self.location.href).href;

serveChecks(
  {
    post: (message) => scope.postMessage(message),
    onMessage: (handler) => scope.addEventListener("message", (event: MessageEvent<ToCheck>) => handler(event.data)),
  },
  () => loadXGrammar(() => import(XGRAMMAR)),
  console,
);
