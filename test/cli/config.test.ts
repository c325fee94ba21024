/** Mistakes in a configuration are answered with their place, the line, a caret and the expected form. */
import { expect, test } from "vitest";
import { readConfig } from "../../cli/config/read.ts";

const textbook = `proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8901
grpc_options:
  port: 9000
  grpc_servicer_functions: []
applications:
- name: llm
  route_prefix: /
  import_path: llm:chat
  runtime_env: {}
  deployments:
  - name: LLM
    num_replicas: 2
    ray_actor_options:
      num_cpus: 0.5
      num_gpus: 0
`;
const errors = (text: string): string => `\n${(readConfig(text, "llm.yaml").errors ?? ["no error"]).join("\n")}\n`;

test("the textbook's YAML is read as it stands", () => {
  const read = readConfig(textbook, "llm.yaml");
  expect(read.errors).toBeUndefined();
  expect(read.input).toMatchObject({
    applications: [{ name: "llm", deployments: [{ name: "LLM", num_replicas: 2 }] }],
  });
});

test("an unknown key: place, caret, did you mean", () => {
  expect(errors(textbook.replace("num_replicas: 2", "num_replica: 2"))).toMatchInlineSnapshot(`
    "
    llm.yaml:15:5: Unknown key "num_replica". Did you mean "num_replicas"?
      15 |     num_replica: 2
         |     ^^^^^^^^^^^
    "
  `);
});

test("a key that is like no other: the keys that go there", () => {
  expect(errors(textbook.replace("  port: 9000", "  zzzzz: 9000"))).toMatchInlineSnapshot(`
    "
    llm.yaml:6:3: Unknown key "zzzzz". Keys that go here: port, grpc_servicer_functions, enable_reflection, request_timeout_s.
      6 |   zzzzz: 9000
        |   ^^^^^
    "
  `);
});

test("a wrong type: the expected form and what was found", () => {
  expect(errors(textbook.replace("num_replicas: 2", "num_replicas: two"))).toMatchInlineSnapshot(`
    "
    llm.yaml:15:19: applications[0].deployments[0].num_replicas: expected a whole number from 1 to 4096, or "auto"; got the text "two".
      15 |     num_replicas: two
         |                   ^^^
    "
  `);
  expect(errors(textbook.replace("port: 8901", "port: 70000"))).toMatchInlineSnapshot(`
    "
    llm.yaml:4:9: http_options.port: expected a whole number from 0 to 65535; got 70000.
      4 |   port: 70000
        |         ^^^^^
    "
  `);
  expect(errors(textbook.replace("EveryNode", "Everywhere"))).toMatchInlineSnapshot(`
    "
    llm.yaml:1:17: proxy_location: expected "EveryNode" or "HeadOnly" or "Disabled"; got the text "Everywhere".
      1 | proxy_location: Everywhere
        |                 ^^^^^^^^^^
    "
  `);
  expect(errors(textbook.replace("grpc_servicer_functions: []", "grpc_servicer_functions: {}"))).toMatchInlineSnapshot(`
    "
    llm.yaml:7:3: grpc_options.grpc_servicer_functions: expected a list; got a mapping.
      7 |   grpc_servicer_functions: {}
        |   ^^^^^^^^^^^^^^^^^^^^^^^
    "
  `);
});

test("a missing key points at its parent", () => {
  expect(errors(textbook.replace("  import_path: llm:chat\n", ""))).toMatchInlineSnapshot(`
    "
    llm.yaml:9:3: applications[0].import_path is missing: expected text.
      9 | - name: llm
        |   ^^^^
    "
  `);
  expect(errors("proxy_location: EveryNode\n")).toMatchInlineSnapshot(`
    "
    llm.yaml:1:1: applications is missing: expected a list.
      1 | proxy_location: EveryNode
        | ^^^^^^^^^^^^^^
    "
  `);
});

test("rules between keys keep Ray's words", () => {
  expect(errors(textbook.replace("route_prefix: /", "route_prefix: llm"))).toMatchInlineSnapshot(`
    "
    llm.yaml:10:17: applications[0].route_prefix: Invalid route_prefix 'llm', must start with a forward slash ('/').
      10 |   route_prefix: llm
         |                 ^^^
    "
  `);
  expect(errors(`${textbook}- name: llm\n  import_path: other:app\n`)).toMatchInlineSnapshot(`
    "
    llm.yaml:8:1: applications: Found multiple configs for application "llm". Please remove all duplicates.
      8 | applications:
        | ^^^^^^^^^^^^
    llm.yaml:8:1: applications: Found duplicate applications for route prefix "/". Please ensure each application's route_prefix is unique.
      8 | applications:
        | ^^^^^^^^^^^^
    "
  `);
});

test("every mistake is shown, in the order of the file", () => {
  const text = textbook.replace("num_cpus: 0.5", "num_cpus: half").replace("host:", "hots:");
  expect(readConfig(text, "llm.yaml").errors?.map((e) => e.split(":").slice(0, 3).join(":"))).toEqual([
    "llm.yaml:3:3",
    "llm.yaml:17:17",
  ]);
});

test("bad YAML", () => {
  expect(errors(textbook.replace("  port: 8901", "  port: 8901\n  port: 8902"))).toMatchInlineSnapshot(`
    "
    llm.yaml:5:3: This key is there twice. Remove one of them.
      5 |   port: 8902
        |   ^
    "
  `);
  expect(errors("applications:\n\t- name: x\n")).toMatchInlineSnapshot(`
    "
    llm.yaml:2:1: A tab as indentation: YAML wants spaces.
      2 |  - name: x
        | ^
    "
  `);
  expect(errors("applications: [\n")).toMatchInlineSnapshot(`
    "
    llm.yaml:2:1: Not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ].
      2 |
        | ^
    "
  `);
  expect(errors("- a\n- b\n")).toMatchInlineSnapshot(`
    "
    llm.yaml:1:1: Expected a mapping with the key \`applications\` at the top of the file.
      1 | - a
        | ^
    "
  `);
  expect(errors("")).toMatchInlineSnapshot(`
    "
    llm.yaml:1:1: Expected a mapping with the key \`applications\` at the top of the file.
      1 |
        | ^
    "
  `);
});

test("aliases and size are bounded", () => {
  const laughs = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n`;
  expect(errors(laughs)).toContain("aliases");
  expect(errors(`# ${"x".repeat(5 * 1024 * 1024)}\n`)).toContain("the limit is");
});

test("keys of Ray without effect are warned about", () => {
  const read = readConfig(textbook.replace("  runtime_env: {}", "  autoscaling_policy: {name: x}"), "llm.yaml");
  expect(read.errors === undefined && read.warnings).toEqual([
    "llm.yaml: `applications[0].autoscaling_policy` has no effect in this version of Skein.",
  ]);
});
