/** What the command line says and how it ends. */
import { NONE, type Difference } from "./difference.ts";

export const COMMAND: readonly Difference[] = [
  {
    in: ["X-TXT-03", "X-CLI-01"],
    what: "exit_code",
    ray: "0",
    skein: "4",
    why: "scripts can tell that there is no such application",
  },
  {
    in: ["X-CLI-07"],
    what: "exit_code",
    skein: "5",
    why: "scripts can tell that nothing answers",
  },
  {
    in: ["X-CLI-07"],
    what: "says",
    skein: /No mesh answers at http:\/\/127\.0\.0\.1:8999 \(ECONNREFUSED\)\. Start one with `skein start`/,
    why: "what to do instead of a traceback",
  },
  {
    in: ["C084"],
    step: 0,
    what: "says",
    ray: "Deploying from import path: 'ct_fail:builder'.",
    skein: /Building\n/,
    why: "the code is built before it is sent, and that is what takes time",
  },
  {
    in: ["C084"],
    step: 2,
    what: "yaml[0].route_prefix",
    ray: NONE,
    skein: "/",
    why: "the configuration that was sent, with its prefix",
  },
  {
    in: ["C084"],
    step: 4,
    what: /^(exit_code|says)$/,
    skein: /^4$|No module named 'no_such_module'/,
    why: "code that can't be imported is refused at once",
  },
  {
    in: ["C092", "X-CLI-01"],
    what: "says",
    skein: /the mesh at http/,
    why: "it is a mesh, not a cluster",
  },
  {
    in: ["C098"],
    what: /^(yaml\[0\]|file)\.http_options\.host$/,
    skein: "127.0.0.1",
    why: "safe unless told otherwise",
  },
  {
    in: ["C098"],
    step: 3,
    what: /^(exit_code|says)$/,
    skein: /^4$|No module named 'nope'/,
    why: "one sentence and the exit code of what isn't found",
  },
  {
    in: ["C098"],
    step: 4,
    what: /^(exit_code|says)$/,
    skein: /^0$|import_path: ct_fail:builder/,
    why: "a builder that needs no arguments is built",
  },
  {
    in: ["X-CLI-02"],
    what: "commands",
    ray: "controller-health",
    why: "statistics of a loop that isn't there; `skein doctor` and /metrics instead",
  },
  {
    in: ["X-CLI-04"],
    what: "options",
    ray: /^(-a --address )?--grpc-enable-reflection --grpc-disable-reflection$/,
    why: "reflection is on unless grpc_options.enable_reflection says otherwise; `start` starts a mesh here, nowhere else",
  },
];
