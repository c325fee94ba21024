import { expect, test } from "vitest";
import { CheckpointError } from "../../../engine/gguf/error.ts";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { GraphBuilder } from "../../../engine/onnx/graph.ts";
import { encodeModel, externalTensorField, inputField, outputField } from "../../../engine/onnx/messages.ts";
import { bytesField, concat, integerField, messageField, stringField } from "../../../engine/onnx/protobuf.ts";
import { readOnnxModel } from "../../../engine/onnx/read-model.ts";
import { prf } from "../../../engine/prf.ts";
import { affineGraph } from "../../support/tiny-onnx.ts";

const read = (bytes: Uint8Array) => readOnnxModel(sourceOfBytes(bytes));

test("inputs and outputs with their types and shapes, and no more", async () => {
  const graph = new GraphBuilder();
  graph.input("ids", "int64", ["batch", "sequence"]);
  graph.input("image", "float16", [1, 3, "height", 224]);
  graph.node("Identity", ["ids"], ["out"]);
  graph.output("out", "int64", ["batch", "sequence"]);
  graph.copyStop();
  expect(await read(graph.finish().graph)).toEqual({
    inputs: [
      { name: "ids", type: "int64", shape: ["batch", "sequence"] },
      { name: "image", type: "float16", shape: [1, 3, "height", 224] },
    ],
    outputs: [
      { name: "out", type: "int64", shape: ["batch", "sequence"] },
      // A sequence is no tensor.
      { name: "copy_stop", type: undefined, shape: undefined },
    ],
    external: [],
  });
});

test("weights that old exporters list among the inputs are none; sizes without a name, and any rank", async () => {
  const unnamed = messageField(1, [stringField(1, "loose"), messageField(2, [messageField(1, [integerField(1, 9)])])]);
  const nameless = messageField(12, [
    stringField(1, "y"),
    messageField(2, [
      messageField(1, [
        integerField(1, 1),
        messageField(2, [
          messageField(1, []),
          messageField(1, [integerField(1, -1)]),
          messageField(1, [integerField(1, 5)]),
        ]),
      ]),
    ]),
  ]);
  const { inputs, outputs, external } = await read(
    encodeModel([
      inputField("w", "float32", [2]),
      bytesField(11, unnamed.subarray(2)),
      externalTensorField("w", "float32", [2], { location: "model.onnx_data", offset: 0, length: 8 }),
      nameless,
    ]),
  );
  expect(inputs).toEqual([{ name: "loose", type: "bool", shape: undefined }]);
  expect(outputs).toEqual([{ name: "y", type: "float32", shape: ["?", "?", 5] }]);
  expect(external).toEqual(["model.onnx_data"]);
});

test.each(["../secret", "/etc/passwd", "a/b", "..", ""])("tensors in %j are refused", async (location) => {
  const model = encodeModel([
    externalTensorField("w", "float32", [2], { location, offset: 0, length: 8 }),
    outputField("y", "float32", [2]),
  ]);
  await expect(read(model)).rejects.toThrow("not the name of a file beside it");
});

test("tensors in the branches of a condition are found, and graphs that lie too deep refused", async () => {
  const tensor = externalTensorField("w", "float32", [2], { location: "branch.bin", offset: 0, length: 8 });
  const within = (graph: Uint8Array): Uint8Array =>
    messageField(1, [stringField(4, "If"), messageField(5, [stringField(1, "then_branch"), messageField(6, [graph])])]);
  const output = outputField("y", "float32", [2]);
  expect((await read(encodeModel([within(within(tensor)), output]))).external).toEqual(["branch.bin"]);
  let deep = tensor;
  for (let i = 0; i < 40; i++) deep = within(deep);
  await expect(read(encodeModel([deep, output]))).rejects.toThrow("too deep");
});

test("what is damaged or no ONNX file is refused in words, wherever it ends or errs", async () => {
  const whole = affineGraph();
  for (const bytes of [new Uint8Array(0), Buffer.from("GGUF and so on"), encodeModel([])])
    await expect(read(new Uint8Array(bytes))).rejects.toBeInstanceOf(CheckpointError);
  let refused = 0;
  for (let end = 1; end < whole.length; end++)
    await read(whole.slice(0, end)).catch((error: unknown) => {
      expect(error).toBeInstanceOf(CheckpointError);
      refused++;
    });
  // The graph's own length is in its first bytes.
  expect(refused).toBeGreaterThan(whole.length - 60);
  for (let seed = 0; seed < 300; seed++) {
    const bytes = whole.slice();
    for (let i = 0; i < 3; i++)
      bytes[Math.floor(prf(seed, 2 * i) * bytes.length)] = Math.floor(prf(seed, 2 * i + 1) * 256);
    await read(bytes).catch((error: unknown) => expect(error).toBeInstanceOf(CheckpointError));
  }
});

test("tensors' bytes are skipped, not read", async () => {
  const bytes = concat([
    integerField(1, 10),
    messageField(7, [
      messageField(5, [stringField(8, "w"), bytesField(9, new Uint8Array(4_000_000))]),
      outputField("y", "float32", [2]),
    ]),
  ]);
  let most = 0;
  const { size, read: readBytes } = sourceOfBytes(bytes);
  const { outputs } = await readOnnxModel({
    size,
    read: (offset, length) => {
      most += length;
      return readBytes(offset, length);
    },
  });
  expect(outputs).toHaveLength(1);
  expect(most).toBeLessThan(200_000);
});
