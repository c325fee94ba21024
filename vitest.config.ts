import { defineConfig } from "vitest/config";

/** Wide margins: the timeouts catch what hangs; two shared cores must never make a sound test fail. (With 30 s, 200 MB through an ingress and the linter did.) */
const unitTimeoutMs = 120_000;
/** Of `expect.poll`. Its default is a second. */
const pollTimeoutMs = 60_000;
const systemTimeoutMs = 180_000;
const longTimeoutMs = 600_000;

export default defineConfig({
  test: {
    // Processes, not threads: tests load native add-ons, send signals and change directories.
    pool: "forks",
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/system/**", "test/long/**"],
          testTimeout: unitTimeoutMs,
          hookTimeout: unitTimeoutMs,
          expect: { poll: { timeout: pollTimeoutMs } },
          sequence: { groupOrder: 0 },
        },
      },
      {
        // Real processes, sockets and models: one file at a time, after the unit tests.
        test: {
          name: "system",
          include: ["test/system/**/*.test.ts"],
          testTimeout: systemTimeoutMs,
          hookTimeout: systemTimeoutMs,
          fileParallelism: false,
          // Once more, said in the output: a neighbour may take a core for seconds, and nothing here can tell that from a hang.
          retry: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // A minute and more for each file (a software GPU, three machines in namespaces, the real model by f32): `npm run long`, not `npm test`.
        test: {
          name: "long",
          include: ["test/long/**/*.test.ts"],
          testTimeout: longTimeoutMs,
          hookTimeout: systemTimeoutMs,
          fileParallelism: false,
          retry: 1,
        },
      },
    ],
  },
});
