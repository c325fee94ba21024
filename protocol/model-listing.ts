/** What a model consists of, as the coordinator tells a tab, which reads file by file from there. */
import * as z from "zod";
import { MODEL_FILE_NAME_MAX, MODEL_FILES_MAX } from "./limits.ts";

const fileName = z.string().min(1).max(MODEL_FILE_NAME_MAX);

export const modelListingSchema = z.strictObject({
  /** The GGUF or ONNX file by which the model is named; null: by the folder of a repository. */
  entry: fileName.nullable(),
  files: z
    .array(
      z.strictObject({
        /** Below the model's folder, with `/`. */
        file: fileName,
        bytes: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
        /** Null where nobody has said what it should be. */
        sha256: z
          .string()
          .regex(/^[0-9a-f]{64}$/)
          .nullable(),
      }),
    )
    .min(1)
    .max(MODEL_FILES_MAX),
});
export type ModelListing = z.output<typeof modelListingSchema>;
export type ListedFile = ModelListing["files"][number];
