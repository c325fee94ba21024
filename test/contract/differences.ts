/**
 * What differs from the recordings of Ray Serve, and why: data, never silent. An entry that no longer applies fails the test too.
 * The list is printed with the report of the test run; docs/differences-from-ray-serve.md has the same in prose.
 */
import type { StepFinding } from "./replay.ts";

export interface Difference {
  /** Recordings in which it shows; "*": any. */
  readonly in: readonly string[] | "*";
  /** Absent: any step. */
  readonly step?: number;
  /** What differs, as the comparer names it; a RegExp for many names. */
  readonly what: string | RegExp;
  /** What Skein does, exactly; absent: anything. */
  readonly skein?: string | RegExp;
  readonly ray?: string | RegExp;
  readonly why: string;
}

/** The differences that explain a finding. */
export function explains(difference: Difference, id: string, finding: StepFinding): boolean {
  const { in: ids, step, what, ray, skein } = difference;
  const is = (expected: string | RegExp | undefined, text: string): boolean =>
    expected === undefined || (typeof expected === "string" ? expected === text : expected.test(text));
  return (
    (ids === "*" || ids.includes(id)) &&
    (step === undefined || step === finding.step) &&
    is(what, finding.what) &&
    is(ray, finding.ray) &&
    is(skein, finding.skein)
  );
}

const NONE = "(absent)";
const ECHO = ["C019", "C020", "X-HTTP-03", "X-HTTP-04", "X-HTTP-06", "X-CONN-03", "X-CONN-04"];
const GENERATORS = ["C043", "X-HTTP-01"];

export const DIFFERENCES: readonly Difference[] = [
  { in: "*", what: "header server", skein: NONE, why: "nobody needs to know which server this is" },
  {
    in: "*",
    what: "framing",
    ray: "chunked",
    skein: "content-length",
    why: "a value that is there as a whole has a length: the connection can be kept and the client knows when it has all",
  },
  {
    in: "*",
    what: "header content-type",
    ray: NONE,
    skein: "text/plain; charset=utf-8",
    why: "the body of an error has a type",
  },
  {
    in: ["C011", "X-HTTP-01"],
    what: "header x-request-id",
    ray: NONE,
    why: "every answer of an application names the request, cancelled handlers too",
  },
  { in: ECHO, what: "body.http_version", skein: NONE, why: "a web Request has no HTTP version" },
  { in: ECHO, what: "body.scope_keys", skein: NONE, why: "there is no ASGI scope" },
  {
    in: ECHO,
    what: /^body.headers (connection|transfer-encoding|expect)$/,
    skein: NONE,
    why: "lines about the connection end at the ingress",
  },
  {
    in: ["C020"],
    step: 5,
    what: "body.headers x-request-id",
    skein: "first, second",
    why: "web Headers join lines of one name",
  },
  {
    in: ["C020"],
    step: 5,
    what: "body.headers x-request-id",
    ray: "second",
    skein: NONE,
    why: "web Headers join lines of one name",
  },
  {
    in: ["C007"],
    step: 6,
    what: "body",
    skein: /now%20here/,
    why: "the path as the client wrote it: decoded, it could put anything into the text",
  },
  {
    in: ["C020"],
    step: 5,
    what: "body.request_id",
    ray: "second",
    skein: "first",
    why: "one request has one id: the first, which the answer names too",
  },
  {
    in: ["C020"],
    step: 7,
    what: "body.request_id",
    ray: "<uuid>",
    skein: "",
    why: "one request has one id: what the client said, even if empty",
  },
  { in: ["X-HTTP-03"], step: 3, what: "body.url", skein: /%2Fenc%20oded\/%E4%BD%A0/, why: "a URL keeps its escapes" },
  {
    in: ["C020", "C049-e"],
    what: "header content-type",
    skein: "text/plain;charset=UTF-8",
    why: "as the web's Response spells it",
  },
  {
    in: ["C049-e"],
    step: 5,
    what: "header x-request-id",
    ray: "<uuid>",
    skein: NONE,
    why: "the application's own line replaces ours; Ray sends both",
  },
  { in: ["C049-e"], step: 6, what: /^(end|body)$/, why: "a length that doesn't hold is not passed on" },
  {
    in: ["C049"],
    step: 4,
    what: /^(status|body|header content-type|framing)$/,
    why: "JavaScript has no bytearray: the nearest, a clamped array, is numbers",
  },
  {
    in: GENERATORS,
    what: /^(status|header content-type|framing|end|body|chunks)$/,
    why: "a generator is a stream over HTTP; Ray fails on it",
  },
  {
    in: ["X-HTTP-04", "X-CONN-03", "X-CONN-05"],
    what: "header date",
    skein: NONE,
    why: "what isn't HTTP is answered in a few fixed bytes",
  },

  {
    in: ["C040"],
    step: 1,
    what: /^(body|chunks)$/,
    skein: /event: error/,
    why: "a client of server-sent events is told that the stream failed",
  },
  {
    in: ["X-CONN-01"],
    what: /^header (connection|keep-alive)$/,
    ray: NONE,
    why: "the client is told how long the connection is kept",
  },
  {
    in: ["X-CONN-01"],
    step: 4,
    what: /^(header connection|then)$/,
    why: "a client of HTTP/1.0 that asks for keep-alive gets it",
  },
  { in: ["X-CONN-03"], step: 1, what: "body.headers x-trailer", skein: NONE, why: "a trailer is no header" },
  {
    in: ["X-CONN-05"],
    step: 1,
    what: /^(status|header content-type|header x-request-id|body)$/,
    why: "HTTP/1.1 wants a Host: without it, requests to other sites could be smuggled to this one",
  },
  {
    in: ["X-CONN-05"],
    step: 4,
    what: /^(status|header x-request-id|body)$/,
    skein: /431|absent|16384/,
    why: "heads are bounded",
  },
  {
    in: ["X-CONN-05"],
    step: 5,
    what: /^(status|body)$/,
    skein: /431|16384/,
    why: "heads are bounded, and the answer says so",
  },
  {
    in: ["X-CONN-05"],
    step: 12,
    what: "header connection",
    skein: "close",
    why: "the upgrade asked for the end of the connection too",
  },
  {
    in: ["C006", "C169"],
    what: "status",
    ray: "200",
    skein: "400",
    why: "what can't work is refused at once; Ray finds out when it deploys",
  },
  {
    in: ["C006-b"],
    what: "put",
    ray: "200",
    skein: "400",
    why: "what can't work is refused at once; Ray finds out when it deploys",
  },
  {
    in: ["C006", "X-REST-01"],
    what: "content_type",
    ray: "null",
    skein: "text/plain;charset=UTF-8",
    why: "an empty body has a type",
  },
  { in: ["C066", "C171"], what: "refusal.count", why: "all errors are told at once" },
  {
    in: ["X-REST-04", "C088-b"],
    what: /deployment_config\.request_router_config$/,
    skein: NONE,
    why: "not supported yet",
  },
  {
    in: ["X-REST-04", "C088-b"],
    what: /\.(node_ip|actor_id|node_instance_id|recent_dead_replicas)$/,
    skein: /^(null|\(absent\))$/,
    why: "there are no actors; workers aren't addressed",
  },
  {
    in: ["X-REST-04", "C088-b"],
    what: /replicas\[\d+\]\.message$/,
    ray: NONE,
    why: "each replica says why it is in its state",
  },
  {
    in: ["X-REST-04"],
    what: "top.restores_unset_config_options",
    skein: NONE,
    why: "it tells Ray's own versions apart",
  },
  { in: ["C067"], step: 5, what: "json.http_options.host", skein: "127.0.0.1", why: "safe unless told otherwise" },
  {
    in: ["C067"],
    step: 5,
    what: /^json\.http_options\.(request_timeout_s|ssl_\w+)$/,
    ray: "null",
    skein: NONE,
    why: "what isn't set isn't shown",
  },
  {
    in: ["C022"],
    step: 5,
    what: "body",
    skein: "c0;c1;c2;c3;",
    why: "a second has room for four pieces; Ray took longer to start",
  },

  { in: ["C012"], what: "header x-request-id", ray: NONE, why: "every answer of an application names the request" },
  {
    in: ["C090"],
    step: 1,
    what: "message",
    skein: /Module 'ct_fail' has no export 'nope'/,
    why: "JavaScript's words, and what the module does export",
  },
  {
    in: ["C090"],
    step: 2,
    what: "message",
    skein: /ct_syntax\.ts:2:17: Expected identifier/,
    why: "esbuild's words, with file, line and column",
  },
  {
    in: ["C122"],
    what: /^deployments\.\w+\.message$/,
    skein: /^No worker has room\. .*: needs (1 GPU, has 0 free of 0|100 CPU, has 4 free of 4)\.$/,
    why: "said at once, and which worker lacks what",
  },
  {
    in: ["C088-b"],
    step: 2,
    what: "app.deployments.NeedsGpu.message",
    skein: /^No worker has room\./,
    why: "said at once, and which worker lacks what",
  },
  {
    in: ["C088-b"],
    what: /^app\.(deployments\.FailCtor\.)?message$/,
    skein: /model file is corrupt|No module named 'no_such_module'/,
    why: "no Python traceback; C088 and C090 compare the sentences",
  },
  {
    in: ["C088-b"],
    step: 2,
    what: /replicas\[0\]\.(pid|node_id|worker_id|log_file_path)$/,
    ray: NONE,
    skein: "null",
    why: "the same keys whether placed or not",
  },
  {
    in: ["C174"],
    what: "message",
    skein: /Expected a built Skein application or an application builder function but got: /,
    why: "as Ray, of another class system",
  },
  {
    in: ["C174"],
    step: 4,
    what: "message",
    skein: /take exactly one parameter, an object containing/,
    why: "a dictionary is an object",
  },
  {
    in: ["C174"],
    step: 5,
    what: "message",
    skein: /must return an `Application` returned from .* but got: string/,
    why: "as Ray, of another class system",
  },
  { in: ["C174"], step: 6, what: "message", skein: /Error: missing arg/, why: "Python quotes a KeyError" },
  {
    in: ["X-LIFE-01"],
    step: 1,
    what: "deployments.Ok.message",
    skein: /user_config specified but deployment .* missing reconfigure method/,
    why: "ranks need no reconfigure here",
  },
  {
    in: ["C006-b"],
    what: "message",
    skein: /Invalid route_prefix .* should not end with '\/' unless it is '\/'/,
    why: "Ray's sentence of another layer, which knows that / itself is good",
  },
  {
    in: ["C167"],
    what: "refusal.sentence",
    skein: /Got invalid import path/,
    why: "one separator, the colon: a dot is part of a file's name",
  },
  {
    in: ["C169", "C171"],
    what: "refusal.path",
    skein: /applications\.0\.(deployments\.0\.num_replicas|name)/,
    why: "the path leads to the key itself",
  },
  {
    in: ["C171"],
    what: "refusal.sentence",
    skein: /Unknown key "(host|port)"/,
    why: "an application has no such key, as any other that is unknown",
  },
  {
    in: ["C171"],
    step: 13,
    what: "refusal.sentence",
    skein: /support only remote URIs in working_dir/,
    why: "there are no local:// URIs",
  },
];
