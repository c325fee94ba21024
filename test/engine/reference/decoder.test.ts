import { expect, test } from "vitest";
import { createReferenceRunner } from "../../../engine/reference/decoder.ts";
import { argmax } from "../../support/argmax.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

const { config, weights } = makeTinyGguf();
const runner = () => createReferenceRunner(config, weights, { slots: 3, slotLength: 32 });
const prompt = Int32Array.of(300, 40, 270, 90, 17, 400);

test("a prompt in chunks, or token by token, gives the same logits as in one piece", async () => {
  const whole = (await runner().prefill(0, prompt, 0, true))!;
  const chunked = runner();
  expect(await chunked.prefill(0, prompt.subarray(0, 4), 0, false)).toBeUndefined();
  expect(await chunked.prefill(0, prompt.subarray(4), 4, true)).toEqual(whole);
  const single = runner();
  let logits: Float32Array = new Float32Array(0);
  for (const [position, token] of prompt.entries())
    logits = await single.decode(Int32Array.of(token), Int32Array.of(position));
  expect(logits).toEqual(whole);
});

test("rows of a batch don't touch each other, and a copied slot goes on as its source", async () => {
  const batch = runner();
  await batch.prefill(0, prompt, 0, false);
  await batch.prefill(1, prompt.subarray(0, 3), 0, false);
  await batch.copySlot(0, 2, prompt.length);
  const n = prompt.length;
  const logits = await batch.decode(Int32Array.of(5, 6, 5), Int32Array.of(n, 3, n));
  const row = (i: number) => logits.subarray(i * config.vocabulary, (i + 1) * config.vocabulary);
  const alone = (await runner().prefill(0, Int32Array.of(...prompt, 5), 0, true))!;
  expect(row(0)).toEqual(alone);
  expect(row(2)).toEqual(alone);
  expect(row(1)).toEqual((await runner().prefill(0, Int32Array.of(...prompt.subarray(0, 3), 6), 0, true))!);
});

test("order and position matter: attention and rotary embedding do something", async () => {
  const reversed = prompt.slice(0, 5).reverse();
  const a = (await runner().prefill(0, prompt, 0, true))!;
  const b = (await runner().prefill(0, Int32Array.of(...reversed, prompt[5]!), 0, true))!;
  expect(argmax(a.map((value, i) => Math.abs(value - b[i]!)))).toBeGreaterThanOrEqual(0);
  expect(Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))).toBeGreaterThan(0.5);
});

test("the tiny model is the same for the same seed, differs with the seed, and is chatty", async () => {
  expect(makeTinyGguf().bytes).toEqual(makeTinyGguf().bytes);
  expect(makeTinyGguf({ seed: 2 }).bytes).not.toEqual(makeTinyGguf().bytes);
  const r = createReferenceRunner(config, weights, { slots: 1, slotLength: 128 });
  let token = argmax((await r.prefill(0, prompt, 0, true))!);
  const seen = new Set<number>();
  for (let i = 0; i < 100; i++) {
    seen.add(token);
    token = argmax(await r.decode(Int32Array.of(token), Int32Array.of(prompt.length + i)));
  }
  expect(seen.size).toBeGreaterThan(40);
});

test("tokens and positions out of range are refused", async () => {
  await expect(runner().prefill(0, Int32Array.of(512), 0, true)).rejects.toThrow("vocabulary of 512");
  await expect(runner().prefill(0, prompt, 30, true)).rejects.toThrow("slot of 32");
  await expect(runner().prefill(3, prompt, 0, true)).rejects.toThrow("slot 3");
});
