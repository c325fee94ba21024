/** gRPC through coordinator, agent, ingress and replica, all of them processes: the example, deployed with the textbook's options and one entry. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client, credentials, Metadata, status, type ServiceError, type StatusObject } from "@grpc/grpc-js";
import { create, createFileRegistry, fromBinary, toBinary, type DescMessage } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readServicers } from "../../worker/node/builder/servicers.ts";
import { eventually, SystemMesh } from "./mesh.ts";

const APP_DIR = fileURLToPath(new URL("../../examples/grpc", import.meta.url));
const BUF = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));
const ENTRY = "chat.proto:example.Chat";
const OPTIONS = { grpc_options: { port: 0, grpc_servicer_functions: [ENTRY] } };
const APP = { name: "chat", route_prefix: "/", import_path: "app:app" };

describe("an application with one gRPC service", () => {
  let mesh: SystemMesh;
  let client: Client;
  let address: string;
  let messages: (name: string) => { write(value: object): Buffer; read(bytes: Buffer): Record<string, unknown> };

  beforeAll(async () => {
    const { descriptors } = await readServicers(APP_DIR, [ENTRY], {});
    const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, Buffer.from(descriptors, "base64")));
    messages = (name) => {
      const desc = registry.getMessage(`example.${name}`) as DescMessage;
      return {
        write: (value) => Buffer.from(toBinary(desc, create(desc, value as never))),
        read: (bytes) => fromBinary(desc, bytes) as unknown as Record<string, unknown>,
      };
    };
    mesh = await SystemMesh.start({ workers: 1, appDir: APP_DIR });
    await mesh.deploy([APP], OPTIONS);
    address = await grpcAddress(mesh);
    client = new Client(address, credentials.createInsecure());
  });
  afterAll(async () => {
    client?.close();
    await mesh.stop();
  });

  const greet = (name: string, options: object = {}) =>
    new Promise<{ error: ServiceError | null; text: unknown; end: StatusObject }>((resolve) => {
      let answer: { error: ServiceError | null; text: unknown };
      client
        .makeUnaryRequest(
          "/example.Chat/Greet",
          messages("GreetRequest").write,
          messages("GreetReply").read,
          { name },
          new Metadata(),
          options,
          (error, value) => void (answer = { error, text: value?.["text"] }),
        )
        .on("status", (end) => setImmediate(() => resolve({ ...answer, end })));
    });
  const count = (request: object, options: object = {}) =>
    client.makeServerStreamRequest(
      "/example.Chat/Count",
      messages("CountRequest").write,
      messages("CountReply").read,
      request,
      new Metadata(),
      options,
    );
  const ongoing = async (): Promise<number> =>
    Number(/skein_num_ongoing_grpc_requests (\d+)/.exec(await metrics(mesh))?.[1]);

  it("answers unary calls: message, code, details, trailing metadata", async () => {
    const { text, end } = await greet("Ada");
    expect(text).toBe("Hello, Ada!");
    expect(end.metadata.get("greeted-by")[0]).toMatch(/^chat#Chat#/);
    expect(end.metadata.get("request_id")[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect((await greet("")).error).toMatchObject({ code: status.INVALID_ARGUMENT, details: "Whom shall I greet?" });
    // The same application by HTTP.
    expect((await mesh.fetch("/")).text).toBe("This application speaks gRPC too.");
  });

  it("streams answers, requests, and both", async () => {
    const seen: unknown[] = [];
    for await (const { n } of count({ to: 100 })) seen.push(n);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    const total = await new Promise((resolve, reject) => {
      const call = client.makeClientStreamRequest(
        "/example.Chat/Add",
        messages("Number").write,
        messages("Sum").read,
        (error, value) => (error === null ? resolve(value?.["total"]) : reject(error)),
      );
      for (let i = 1n; i <= 1000n; i++) call.write({ value: i });
      call.end();
    });
    expect(total).toBe(500_500n);
    const echo = client.makeBidiStreamRequest(
      "/example.Chat/Echo",
      messages("GreetRequest").write,
      messages("GreetReply").read,
    );
    const answers = echo[Symbol.asyncIterator]();
    for (const name of ["a", "b"]) {
      echo.write({ name });
      expect((await answers.next()).value).toMatchObject({ text: name });
    }
    echo.end();
    expect((await answers.next()).done).toBe(true);
  });

  it("a deadline ends the call, and a client that cancels ends the handler", async () => {
    const slow = { to: 1_000_000, every: { seconds: 0n, nanos: 20_000_000 } };
    const late = count(slow, { deadline: Date.now() + 500 });
    await expect(
      (async () => {
        for await (const _ of late);
      })(),
    ).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    const call = count(slow);
    call.on("error", () => {});
    await new Promise((resolve) => call.once("data", resolve));
    expect(await ongoing()).toBe(1);
    call.cancel();
    await eventually(async () => (await ongoing()) === 0, "the ingress has let go of the call");
    // A replica takes 5 calls at a time and bears 20 handlers that run on after their calls were called off; then it says busy for good.
    // So 30 cancelled calls and one that is answered: the handlers have seen it and ended.
    for (let i = 0; i < 30; i++) {
      const next = count(slow);
      next.on("error", () => {});
      await new Promise((resolve) => next.once("data", resolve));
      next.cancel();
    }
    expect((await greet("again")).text).toBe("Hello, again!");
  });

  it("speaks with buf curl, which takes the schema from reflection", async () => {
    const curl = async (method: string, data: string): Promise<string> =>
      (
        await promisify(execFile)(BUF, [
          "curl",
          "--protocol",
          "grpc",
          "--http2-prior-knowledge",
          "-d",
          data,
          `http://${address}/${method}`,
        ])
      ).stdout.replace(/\s+/g, "");
    expect(await curl("example.Chat/Greet", '{"name":"buf","styles":{"a":{"loud":true}}}')).toBe(
      '{"text":"Hello,buf!"}',
    );
    expect(await curl("example.Chat/Count", '{"to":2,"every":"0.001s"}')).toBe('{"n":1}{"n":2}');
    expect(await curl("grpc.health.v1.Health/Check", '{"service":"example.Chat"}')).toBe('{"status":"SERVING"}');
    const { stdout } = await promisify(execFile)(BUF, [
      "curl",
      "--protocol",
      "grpc",
      "--http2-prior-knowledge",
      "--list-methods",
      `http://${address}`,
    ]);
    expect(stdout.split("\n")).toEqual(
      expect.arrayContaining(["example.Chat/Greet", "example.Chat/Count", "grpc.health.v1.Health/Watch"]),
    );
  });

  it("an application that can't be built leaves the others alone", async () => {
    const answer = await mesh.api("PUT", "/api/serve/applications/", {
      http_options: { port: 0 },
      ...OPTIONS,
      applications: [APP, { name: "bad", route_prefix: "/bad", import_path: "nowhere:app" }],
    });
    expect(answer.status).toBe(200);
    await eventually(
      async () => (await mesh.status()).applications["bad"]?.status === "DEPLOY_FAILED",
      "the bad application has failed",
    );
    expect((await mesh.status()).applications["chat"]?.status).toBe("RUNNING");
    expect((await greet("still")).text).toBe("Hello, still!");
  });
});

it("a service whose file is nowhere fails the deploy with its entry", async () => {
  const mesh = await SystemMesh.start({ workers: 1, appDir: APP_DIR });
  try {
    const entry = "nowhere.proto:example.Chat";
    await mesh.api("PUT", "/api/serve/applications/", {
      http_options: { port: 0 },
      grpc_options: { port: 0, grpc_servicer_functions: [entry] },
      applications: [APP],
    });
    await eventually(
      async () => (await mesh.status()).applications["chat"]?.status === "DEPLOY_FAILED",
      "the application has failed",
    );
    expect((await mesh.status()).applications["chat"]?.message).toContain(
      `grpc_options.grpc_servicer_functions: ${entry}: There is no file nowhere.proto in`,
    );
  } finally {
    await mesh.stop();
  }
});

async function grpcAddress(mesh: SystemMesh): Promise<string> {
  let target: { port: number } | undefined;
  await eventually(async () => {
    target = (await mesh.status()).target_groups.find((group) => group.protocol === "gRPC")?.targets[0];
    return target !== undefined;
  }, "the gRPC listener is there");
  return `127.0.0.1:${target!.port}`;
}

/** The ingress's own metrics, from its mesh listener. */
async function metrics(mesh: SystemMesh): Promise<string> {
  const { readdirSync, readFileSync } = await import("node:fs");
  const { join } = await import("node:path");
  const folder = join(mesh.folder, "worker-0");
  const file = readdirSync(folder, { recursive: true })
    .map(String)
    .find((name) => /ingress.*\.json$/.test(name));
  const { ports } = JSON.parse(readFileSync(join(folder, file!), "utf8")) as { ports: { mesh: number } };
  return (await fetch(`http://127.0.0.1:${ports.mesh}/metrics`)).text();
}
