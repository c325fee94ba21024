/** Pure parts of the gRPC side: framing, headers, statuses, the choice of an application, and the ingress's own descriptors. */
import { fileURLToPath } from "node:url";
import { create, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import fc from "../../support/fast-check.ts";
import { expect, test } from "vitest";
import { BUILT_IN_DESCRIPTORS } from "../../../ingress/grpc/built-in-descriptors.ts";
import { BUILT_IN, Catalogue } from "../../../ingress/grpc/catalogue.ts";
import { framed, MessageReader } from "../../../ingress/grpc/framing.ts";
import { metadataLines, readCallHead, statusLines } from "../../../ingress/grpc/metadata.ts";
import { reflect } from "../../../ingress/grpc/reflection.ts";
import { GRPC_MESSAGE_MAX } from "../../../protocol/limits.ts";
import { fileDescriptors } from "../../../worker/node/builder/descriptors.ts";
import { readProtoFiles } from "../../../worker/node/builder/proto-files.ts";
import { table } from "../harness.ts";

const PROTO = fileURLToPath(new URL("../../../ingress/grpc/proto", import.meta.url));
const FILES = [
  "grpc/health/v1/health.proto",
  "grpc/reflection/v1/reflection.proto",
  "grpc/reflection/v1alpha/reflection.proto",
  "ray/serve/serve.proto",
];

test("the built-in descriptors are those of proto/ (if not: the expected text belongs into built-in-descriptors.ts)", () => {
  const set = create(FileDescriptorSetSchema, { file: fileDescriptors(readProtoFiles(PROTO, FILES)) });
  expect(BUILT_IN_DESCRIPTORS).toBe(Buffer.from(toBinary(FileDescriptorSetSchema, set)).toString("base64"));
});

test("messages come out as they went in, however the bytes are cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (messages, cuts) => {
        const bytes = Buffer.concat(messages.map((m) => framed([m.subarray(0, 3), m.subarray(3)], m.length)));
        const reader = new MessageReader();
        const got: number[][] = [];
        const present: number[] = [];
        for (let at = 0, i = 0; at < bytes.length; i += 1) {
          const size = cuts[i % cuts.length]!;
          expect(
            reader.push(bytes.subarray(at, at + size), (piece, more) => {
              present.push(...piece);
              if (!more) got.push(present.splice(0));
            }),
          ).toBeNull();
          at += size;
        }
        expect(reader.between).toBe(true);
        expect(got).toEqual(messages.map((m) => [...m]));
      },
    ),
  );
});

test("compressed and oversized messages are refused by their prefix, before a byte of them is kept", () => {
  const never = (): void => expect.unreachable();
  expect(new MessageReader().push(Uint8Array.of(1, 0, 0, 0, 1, 9), never)).toBe("compressed");
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(GRPC_MESSAGE_MAX + 1, 1);
  expect(new MessageReader().push(prefix, never)).toBe("tooLarge");
  const cut = new MessageReader();
  cut.push(Uint8Array.of(0, 0, 0), never);
  expect(cut.between).toBe(false);
});

test("headers: metadata without the transport's own, deadline in every unit, a fresh id when there is none", () => {
  const head = readCallHead(
    "/p.S/M",
    [
      ":method",
      "POST",
      "content-type",
      "application/grpc",
      "te",
      "trailers",
      "user-agent",
      "x",
      "grpc-timeout",
      "250m",
      "application",
      "g",
      "x-user",
      "1",
      "k-bin",
      "AQ,Ag==",
    ],
    () => "fresh",
  );
  expect(head).toEqual({
    path: "/p.S/M",
    metadata: ["user-agent", "x", "application", "g", "x-user", "1", "k-bin", "AQ", "k-bin", "Ag=="],
    requestId: "fresh",
    app: "g",
    model: "",
    timeoutMs: 250,
  });
  const timeout = (text: string): number | null => readCallHead("", ["grpc-timeout", text], () => "").timeoutMs;
  expect(["1H", "2M", "3S", "4m", "5000u", "7000000n", "99999999H", "x", "1", "123456789S"].map(timeout)).toEqual([
    3_600_000,
    120_000,
    3_000,
    4,
    5,
    7,
    null,
    null,
    null,
    null,
  ]);
});

test("a status travels percent-encoded; metadata can't pose as one", () => {
  expect(statusLines(13, "50% größer\n")).toEqual({ "grpc-status": "13", "grpc-message": "50%25 gr%C3%B6%C3%9Fer%0A" });
  expect(statusLines(0, "")).toEqual({ "grpc-status": "0" });
  expect(metadataLines(["a", "1", "grpc-status", "0", ":status", "500", "a", "2", "b", "3"])).toEqual({
    a: ["1", "2"],
    b: "3",
  });
});

const served = (name: string, services = ["ray.serve.RayServeAPIService"]) => ({
  name,
  routePrefix: `/${name}`,
  ingress: "D",
  grpcServices: services,
  grpcDescriptors: BUILT_IN_DESCRIPTORS,
});
const silent = (name: string) => ({ name, routePrefix: `/${name}`, ingress: "D", grpcServices: [] });

test("which application a call is for, in Ray's words (C052, C053)", () => {
  const choose = (apps: object[], wanted: string, method = "Healthz", service = "ray.serve.RayServeAPIService") => {
    const choice = new Catalogue(
      table({ apps: apps as never }),
      ["ray.serve.RayServeAPIService"],
      expect.unreachable,
    ).choose(service, method, wanted);
    return choice.app?.name ?? (choice.app === null ? `${choice.code}: ${choice.details}` : "");
  };
  const hint = "Ping /ray.serve.RayServeAPIService/ListApplications for available applications.";
  expect(choose([], "")).toBe(`NOT_FOUND: Application metadata not set. ${hint}`);
  expect(["", "g", "nope"].map((wanted) => choose([served("g")], wanted))).toEqual(["g", "g", "g"]);
  expect(choose([served("g"), served("h")], "")).toBe(`NOT_FOUND: Application metadata not set. ${hint}`);
  expect(choose([served("g"), served("h")], "h")).toBe("h");
  expect(choose([served("g"), served("h")], "x")).toBe(`NOT_FOUND: Application 'x' not found. ${hint}`);
  expect(choose([served("g"), silent("h")], "")).toBe("g");
  expect(choose([served("g"), silent("h")], "h")).toBe(
    "UNIMPLEMENTED: Application 'h' does not serve ray.serve.RayServeAPIService.",
  );
  expect(choose([served("g")], "", "Nope")).toBe("UNIMPLEMENTED: Method not found!");
  expect(choose([served("g")], "", "M", "other.Service")).toBe("UNIMPLEMENTED: Method not found!");
});

test("descriptors that don't parse leave their application out, and are told", () => {
  const told: string[] = [];
  const catalogue = new Catalogue(
    table({ apps: [served("g"), { ...served("bad"), grpcDescriptors: "AAAA" }] as never }),
    [],
    (message) => told.push(message),
  );
  expect(catalogue.apps.map((app) => app.name)).toEqual(["g"]);
  expect(told.join()).toContain("Application 'bad' is not served by gRPC");
});

test("reflection: by file, by type, by method; what isn't there is an error", () => {
  const ask = (question: Parameters<typeof reflect>[0]) => reflect(question, ["a.B"], [BUILT_IN]);
  expect(ask({ case: "listServices", value: "" }).value).toEqual({ service: [{ name: "a.B" }] });
  for (const symbol of [
    "grpc.health.v1.Health",
    "grpc.health.v1.Health.Check",
    "grpc.health.v1.HealthCheckResponse.ServingStatus",
  ])
    expect(ask({ case: "fileContainingSymbol", value: symbol }).case).toBe("fileDescriptorResponse");
  expect(ask({ case: "fileByFilename", value: "grpc/health/v1/health.proto" }).case).toBe("fileDescriptorResponse");
  for (const question of [
    { case: "fileContainingSymbol", value: "no.Such" },
    { case: "fileContainingSymbol", value: "" },
    { case: "allExtensionNumbersOfType", value: "no.Such" },
    { case: undefined },
  ] as const)
    expect(ask(question)).toMatchObject({ case: "errorResponse" });
  expect(ask({ case: "allExtensionNumbersOfType", value: "ray.serve.HealthzRequest" }).value).toEqual({
    baseTypeName: "ray.serve.HealthzRequest",
    extensionNumber: [],
  });
});
