/** API keys by gRPC: who is let in, what everyone else is told (always the same), and what the replica sees of a key (nothing). */
import { createHash } from "node:crypto";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { apiKeyText } from "../../../protocol/api-key.ts";
import type { OpenGrpc } from "../../../protocol/heads.ts";
import { routed } from "../harness.ts";
import { none } from "../opened.ts";
import { ECHO } from "./echo-descriptors.ts";

const ID = "0123456789ab";
const EXPIRED = "00000000000a";
const text = apiKeyText(ID, "k".repeat(43));
const hashOf = (key: string): string => createHash("sha256").update(key).digest("hex");

test("a key lets a call in and goes no further; without a good one the answer is the same, whatever was wrong", async () => {
  const running = await none({ grpc: { grpc_servicer_functions: ["x.proto:user.Echo"] } });
  const expired = apiKeyText(EXPIRED, "e".repeat(43));
  const apiKeys = [
    { id: ID, hash: hashOf(text), expiresAtMs: null },
    { id: EXPIRED, hash: hashOf(expired), expiresAtMs: 1 },
  ];
  running.route({
    apps: [
      { name: "app", routePrefix: "/", ingress: "D", grpcServices: ["user.Echo"], grpcDescriptors: ECHO, apiKeys },
    ],
    deployments: [{ replicas: [routed("app#D#a")] }],
  });
  const seen: OpenGrpc[] = [];
  await running.replica("app#D#a", (stream, head) => {
    seen.push(head as OpenGrpc);
    stream.accept();
    stream.write("bytes", Buffer.from("answer"));
    stream.end();
    return {};
  });
  const { port } = running.reports.findLast((r) => r.grpc !== null)!.grpc!;
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  const call = (path: string, shown: Record<string, string>): Promise<[code: number, text: string]> =>
    new Promise((resolve) => {
      const metadata = new Metadata();
      for (const [name, value] of Object.entries(shown)) metadata.set(name, value);
      client.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error, answer) =>
        resolve(error === null ? [status.OK, String(answer)] : [error.code, error.details]),
      );
    });
  const refused = {
    none: {},
    wrong: { authorization: `Bearer ${apiKeyText(ID, "w".repeat(43))}` },
    unknown: { authorization: `Bearer ${apiKeyText("ffffffffffff", "k".repeat(43))}` },
    expired: { authorization: `Bearer ${expired}` },
    "no scheme": { authorization: text },
  };
  const sentence = "This application needs a valid API key, as metadata `authorization: Bearer <key>`.";
  for (const [name, shown] of Object.entries(refused))
    expect([name, await call("/user.Echo/Say", shown)]).toEqual([name, [status.UNAUTHENTICATED, sentence]]);
  expect(seen).toEqual([]);
  expect(await call("/user.Echo/Say", { authorization: `Bearer ${text}`, other: "kept" })).toEqual([
    status.OK,
    "answer",
  ]);
  expect(seen[0]!.metadata).toContain("other");
  expect(JSON.stringify(seen)).not.toMatch(/authorization|skein-/);
  for (const open of ["grpc.health.v1.Health/Check", "ray.serve.RayServeAPIService/Healthz"])
    expect((await call(`/${open}`, {}))[0]).toBe(status.OK);
  client.close();
});
