/** A listener is bound anew only when what is wished for has changed: clients' connections hang on it. */
import { expect, it } from "vitest";
import { ListenerSlot } from "../../ingress/listener-slot.ts";

it("a wish for the port that any port has become is no change; another port is", async () => {
  const slot = new ListenerSlot();
  const bound: number[] = [];
  let closed = 0;
  const listen = async (options: { readonly port: number }) => {
    bound.push(options.port);
    return { host: "h", port: options.port === 0 ? 4_000 : options.port, close: async () => void (closed += 1) };
  };
  for (const port of [0, 4_000, 0, 4_000]) await slot.use({ port }, null, listen);
  expect([bound, closed]).toEqual([[0], 0]);
  await slot.use({ port: 5_000 }, null, listen);
  expect([bound, closed]).toEqual([[0, 5_000], 1]);
});
