/** Tensors of every format by chance. */
import { BLOCK_LAYOUTS, byteLengthOf, type TensorFormat } from "../../engine/gguf/format.ts";
import { seededRandom } from "./random.ts";

/** Bytes of each block that hold f16 numbers. */
const HALVES: Partial<Record<TensorFormat, readonly number[]>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
};

/** Random blocks with scales that give values of about one. */
export function randomTensor(format: TensorFormat, elements: number, seed = 11): Uint8Array {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(byteLengthOf(format, elements));
  const view = new DataView(bytes.buffer);
  if (format === "F32") for (let i = 0; i < bytes.length; i += 4) view.setFloat32(i, random() - 0.5, true);
  else if (format === "F16") for (let i = 0; i < bytes.length; i += 2) view.setFloat16(i, random() - 0.5, true);
  else if (format === "BF16") {
    // The upper half of an f32 between 0.5 and 2 of either sign.
    for (let i = 0; i < bytes.length; i += 2)
      view.setUint16(i, (random() < 0.5 ? 0x8000 : 0) | (0x3f00 + Math.floor(random() * 256)), true);
  } else {
    const size = BLOCK_LAYOUTS[format].bytes;
    const scale = { Q8_0: 0.01, Q6_K: 0.0005, Q4_K: 0.003, Q5_K: 0.0015 }[format as string] ?? 0.1;
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256);
    for (let block = 0; block < bytes.length; block += size) {
      for (const at of HALVES[format] ?? []) view.setFloat16(block + at, scale * (0.5 + random()), true);
      if (format.startsWith("I8")) view.setFloat32(block, 0.01 * (0.5 + random()), true);
      if (format === "I8_1") view.setFloat32(block + 4, Math.floor(40 * random()) - 20, true);
    }
  }
  return bytes;
}
