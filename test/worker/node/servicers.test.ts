/** From .proto files (or generated descriptors) to linked descriptors: buf, which is strict, is the judge of what ours must be. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, createFileRegistry, equals, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, type FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { afterAll, expect, test } from "vitest";
import { readServicers } from "../../../worker/node/builder/servicers.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

function folder(files: Record<string, string>): string {
  const made = mkdtempSync(join(tmpdir(), "skein-servicers-"));
  folders.push(made);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(made, name)), { recursive: true });
    writeFileSync(join(made, name), text);
  }
  return made;
}
const filesOf = (descriptors: string): FileDescriptorProto[] =>
  fromBinary(FileDescriptorSetSchema, Buffer.from(descriptors, "base64")).file;
const read = (appDir: string, ...entries: string[]) => readServicers(appDir, entries, {});
const failure = (appDir: string, ...entries: string[]): Promise<string> =>
  read(appDir, ...entries).then(
    () => "it was read",
    (error: Error) => error.message,
  );

const SCHEMA = {
  "api/chat.proto": `syntax = "proto3";
package example.v1;
import "api/common.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
/* syntax = "proto2"; */
service Chat {
  rpc Say(SayRequest) returns (SayReply) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Tell(SayRequest) returns (stream SayReply.Piece);
  rpc Hear(stream SayRequest) returns (SayReply) { option deprecated = true; }
  rpc Talk(stream SayRequest) returns (stream example.common.Empty);
}
message SayRequest {
  string user_name = 1;
  optional int32 limit = 2;
  oneof what { string text = 3; bytes raw_data = 4; }
  map<string, SayReply.Piece> by_key = 5;
  map<int64, Mood> moods = 6;
  repeated int32 xs = 7;
  repeated int32 ys = 8 [packed = false, deprecated = true];
  int64 id = 9 [jstype = JS_STRING, json_name = "ID"];
  optional bool flag = 10;
  google.protobuf.Value value = 11;
  reserved 20, 30 to 35;
  reserved "old";
}
enum Mood { option allow_alias = true; MOOD_UNSPECIFIED = 0; GOOD = 1; FINE = 1; BAD = -2; reserved 7, 9 to 11; }
message SayReply {
  message Piece { string text = 1; message Deep { Mood mood = 1; } repeated Deep deep = 2; }
  repeated Piece pieces = 1;
  google.protobuf.Timestamp at = 2;
  example.common.Empty nothing = 3;
  sint64 a = 4; fixed32 b = 5; sfixed64 c = 6; double d = 7; float e = 8; uint64 f = 9;
}
`,
  "api/common.proto": `syntax = "proto2";
package example.common;
import public "google/protobuf/empty.proto";
message Empty { required int32 a = 1 [default = 5]; optional string s = 2 [default = "x"]; extensions 100 to 199; optional group Box = 3 { optional int32 z = 1; } }
extend Empty { optional Empty more = 100; }
`,
};

test("descriptors are those of buf, every name fully qualified", async () => {
  const appDir = folder(SCHEMA);
  const { services, descriptors, missing, inputs } = await read(appDir, "api/chat.proto:example.v1.Chat");
  expect({ services, missing, inputs: inputs.length }).toEqual({
    services: ["example.v1.Chat"],
    missing: [],
    inputs: 2,
  });
  const ours = filesOf(descriptors);
  execFileSync(join(ROOT, "node_modules/.bin/buf"), [
    "build",
    appDir,
    "--exclude-source-info",
    "--as-file-descriptor-set",
    "-o",
    join(appDir, "image.binpb"),
  ]);
  const theirs = filesOf(execFileSync("cat", [join(appDir, "image.binpb")]).toString("base64"));
  for (const name of ["api/common.proto", "api/chat.proto"]) {
    const [mine, buf] = [ours, theirs].map((files) => files.find((file) => file.name === name)!);
    expect(JSON.parse(JSON.stringify(mine, plain))).toEqual(JSON.parse(JSON.stringify(buf, plain)));
    expect(equals(FileDescriptorProtoSchema, mine!, buf!)).toBe(true);
  }
  // Imported files come first, and all link.
  expect(ours.at(-1)?.name).toBe("api/chat.proto");
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: ours }));
  expect(registry.getService("example.v1.Chat")?.methods.map((m) => m.methodKind)).toEqual([
    "unary",
    "server_streaming",
    "client_streaming",
    "bidi_streaming",
  ]);
});

/** Without what marks a message's schema, in which the two differ by construction. */
const plain = (key: string, value: unknown): unknown =>
  key === "$typeName" ? undefined : typeof value === "bigint" ? String(value) : value;

test("errors have their place and what to do", async () => {
  const appDir = folder({
    ...SCHEMA,
    "bad.proto": 'syntax = "proto3";\nmessage A {\n  int32 = 1;\n}\n',
    "lost.proto": 'syntax = "proto3";\nimport "nowhere.proto";\nservice S { rpc M(A) returns (A); }\nmessage A {}\n',
    "out.proto": 'syntax = "proto3";\nimport "../../etc/hostname";\n',
    "untyped.proto": 'syntax = "proto3";\nservice S { rpc M(A) returns (B); }\nmessage A {}\n',
    "new.proto": 'edition = "2023";\n',
    "none.proto": 'syntax = "proto3";\n',
    "code.ts": "export const five = 5;\n",
  });
  const shown = (text: string): string => text.replaceAll(appDir, "<app>");
  expect(shown(await failure(appDir, "bad.proto:S"))).toMatchInlineSnapshot(`
    "bad.proto:3:3: illegal name '='
      3 |   int32 = 1;
        |   ^^^^^^^^^^"
  `);
  expect(shown(await failure(appDir, "lost.proto:S"))).toMatchInlineSnapshot(`
    "lost.proto:2:8: Cannot find "nowhere.proto".
      2 | import "nowhere.proto";
        |        ^^^^^^^^^^^^^^^
    Imports are looked up under the application's folder, <app>."
  `);
  expect(shown(await failure(appDir, "untyped.proto:S"))).toMatchInlineSnapshot(`
    "untyped.proto: no such type: B
    Is it misspelt, or an import missing?"
  `);
  expect(shown(await failure(appDir, "new.proto:S"))).toMatchInlineSnapshot(`
    "new.proto:1:11: new.proto is written in edition 2023.
      1 | edition = "2023";
        |           ^^^^^^
    Write syntax = "proto3", or name a generated descriptor: <module>:<export>."
  `);
  expect(shown(await failure(appDir, "none.proto:S"))).toMatchInlineSnapshot(`
    "grpc_servicer_functions: none.proto has no service "S".
    It defines no service."
  `);
  expect(shown(await failure(appDir, "api/chat.proto:Chat"))).toMatchInlineSnapshot(`
    "grpc_servicer_functions: api/chat.proto has no service "Chat".
    It defines example.v1.Chat."
  `);
  expect(shown(await failure(appDir, "chat.proto"))).toMatchInlineSnapshot(
    `"grpc_servicer_functions: "chat.proto" names no service. Expected "<file>.proto:<package.Service>", such as "chat.proto:example.Chat", or "<module>:<export>" of a generated descriptor."`,
  );
  expect(shown(await failure(appDir, "code:five"))).toMatchInlineSnapshot(
    `"grpc_servicer_functions: code:five is not a service or a file with services as protoc-gen-es generates them."`,
  );
  expect(await failure(appDir, "out.proto:S")).toMatch(/Cannot find|outside of the application's folder/);
});

test("a file that an application doesn't have is told, not thrown: another application may have it", async () => {
  const appDir = folder(SCHEMA);
  const { services, missing } = await read(
    appDir,
    "other.proto:a.B",
    "api/chat.proto:example.v1.Chat",
    "gen/other_pb:Other",
  );
  expect(services).toEqual(["example.v1.Chat"]);
  expect(missing.map((m) => m.entry)).toEqual(["other.proto:a.B", "gen/other_pb:Other"]);
  expect(missing[0]?.why).toContain("There is no file other.proto in");
});

test("a generated descriptor is as good as its file", async () => {
  const appDir = folder(SCHEMA);
  const fromProto = await read(appDir, "api/common.proto:x").catch(() =>
    read(appDir, "api/chat.proto:example.v1.Chat"),
  );
  const own = filesOf(fromProto.descriptors).find((file) => file.name === "api/chat.proto")!;
  const empty = filesOf(fromProto.descriptors).find((file) => file.name === "api/common.proto")!;
  const base64 = (file: FileDescriptorProto): string =>
    Buffer.from(toBinary(FileDescriptorProtoSchema, file)).toString("base64");
  const generated = (name: string): string =>
    JSON.stringify(join(ROOT, "node_modules/@bufbuild/protobuf/dist/esm", name));
  // What protoc-gen-es writes, with paths that need no node_modules.
  writeFileSync(
    join(appDir, "chat_pb.ts"),
    `
import { fileDesc, serviceDesc } from ${generated("codegenv2/index.js")};
import { file_google_protobuf_timestamp, file_google_protobuf_struct, file_google_protobuf_empty } from ${generated("wkt/index.js")};
const common = fileDesc(${JSON.stringify(base64({ ...empty, syntax: "proto2" }))}, [file_google_protobuf_empty]);
export const file_chat = fileDesc(${JSON.stringify(base64(own))}, [common, file_google_protobuf_timestamp, file_google_protobuf_struct]);
export const Chat = serviceDesc(file_chat, 0);
`,
  );
  for (const entry of ["chat_pb:Chat", "chat_pb:file_chat"]) {
    const { services, descriptors } = await read(appDir, entry);
    expect(services).toEqual(["example.v1.Chat"]);
    expect(
      createFileRegistry(create(FileDescriptorSetSchema, { file: filesOf(descriptors) })).getService("example.v1.Chat")
        ?.methods,
    ).toHaveLength(4);
  }
});
