/**
 * The verbs of `skein` with their options, as commander knows them. Each verb is imported when it is called, so that `--help` is quick.
 * Knows names and help texts; what a verb does is in `verbs/`.
 */
import { Command, InvalidArgumentError, Option } from "commander";
import type { Shell } from "./shell.ts";

const BINARY = "skein";

const EXIT_CODES = `
Exit codes: 0 ok, 1 failed, 2 usage, 3 bad configuration, 4 not found, 5 unreachable, 6 not allowed, 7 timeout, 130 interrupted.
Environment: SKEIN_ADDRESS (or RAY_DASHBOARD_ADDRESS), SKEIN_DATA_DIR, SKEIN_ADMIN_TOKEN, SKEIN_JOIN_TOKEN, SKEIN_API_KEY, NO_COLOR.`;

type Verb = (shell: Shell) => Promise<number>;

/** `done` gets the verb to carry out once the command line is understood. */
export function program(done: (verb: Verb) => void): Command {
  const skein = new Command(BINARY)
    .description("Serves models on a mesh of whatever GPUs there are, with Ray Serve's programming model.")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help for a command")
    .showSuggestionAfterError(true)
    .enablePositionalOptions()
    .addHelpText("after", EXIT_CODES);

  meshOptions(runtimeEnvOptions(addressOptions(skein.command("run"))))
    .description("serve an application and stay until Ctrl-C (beside a running mesh: add it there)")
    .argument("<config_or_import_path>", "module:export, or a YAML file")
    .argument("[arguments...]", "key=value arguments for an application builder")
    .option("-d, --app-dir <folder>", "folder in which modules are looked up (default: the working directory)")
    .option("--name <name>", "name of the application (default: default)")
    .option("--route-prefix <prefix>", "route prefix (default: /)")
    .option("-r, --reload", "build and deploy again when a source file changes")
    .option("--blocking", "stay until Ctrl-C (the default)")
    .option("--non-blocking", "deploy to the running mesh and return")
    .addOption(jsonReady())
    .action((target: string, args: string[], flags) => {
      const { nonBlocking, ...rest } = flags;
      done(async (shell) =>
        (await import("./verbs/run.ts")).run(
          target,
          args,
          { ...rest, ...(nonBlocking ? { blocking: false } : {}) },
          shell,
        ),
      );
    });

  meshOptions(dataDir(skein.command("start")))
    .description("start a mesh without an application; what was deployed before comes back")
    .option(
      "-d, --app-dir <folder>",
      "folder in which a plain PUT's import paths are looked up (default: the working directory)",
    )
    .option("--no-worker", "coordinator only: this machine serves nothing")
    .addOption(
      new Option("--proxy-location <where>", "on which hosts clients are listened for").choices([
        "EveryNode",
        "HeadOnly",
        "Disabled",
      ]),
    )
    .option("--grpc-port <port>", "port for gRPC clients", port)
    .option("--grpc-servicer-functions <function>", "<file>.proto:<package.Service>; may be repeated", collect)
    .addOption(jsonReady())
    .action((flags) => done(async (shell) => (await import("./verbs/start.ts")).start(flags, shell)));

  const worker = skein.command("worker").description("workers of a mesh").helpCommand(false);
  workerOptions(dataDir(worker.command("join")))
    .description("let this machine join a mesh as one more worker, until Ctrl-C")
    .argument("<url...>", "join link, or URL of the mesh port such as https://192.168.1.10:8266")
    .option("--token <token>", "join token (or SKEIN_JOIN_TOKEN, which no process list shows)")
    .option("--browser", "run the worker in a headless Chrome or Chromium")
    .option("--dial-out", "no listener of its own: for a machine that nobody can dial")
    .option("--insecure", "allow a plain connection to another machine")
    .option("--host <id>", "id of this machine, shared by workers on it")
    .addOption(jsonReady())
    .action((urls: string[], flags) =>
      done(async (shell) => (await import("./verbs/worker-join.ts")).join(urls, flags, shell)),
    );

  runtimeEnvOptions(addressOptions(skein.command("deploy")))
    .description("send a configuration to the running mesh; returns before the applications run")
    .argument("<config_or_import_path>", "a YAML file, or module:export")
    .argument("[arguments...]", "key=value arguments for an application builder")
    .option("-d, --app-dir <folder>", "folder in which modules are looked up (default: the working directory)")
    .option("--name <name>", "name of the application, with module:export")
    .option("--wait", "return when the applications run")
    .option("--dry-run", "check and build, send nothing")
    .action((target: string, args: string[], flags) =>
      done(async (shell) => (await import("./verbs/deploy.ts")).deploy(target, args, flags, shell)),
    );

  reading(skein.command("status"))
    .description("what runs, and what it waits for")
    .option("-n, --name <application>", "one application only")
    .action((flags) => done(async (shell) => (await import("./verbs/status.ts")).status(flags, shell)));

  reading(skein.command("config"))
    .description("the configuration that was deployed")
    .option("-n, --name <application>", "one application only")
    .action((flags) => done(async (shell) => (await import("./verbs/status.ts")).config(flags, shell)));

  skein
    .command("build")
    .description("write a configuration file to start from")
    .argument("<import_paths...>", "module:export of each application")
    .option("-d, --app-dir <folder>", "folder in which modules are looked up (default: the working directory)")
    .option("-o, --output-path <file>", "file to write (default: stdout)")
    .option("--grpc-servicer-functions <function>", "<file>.proto:<package.Service>; may be repeated", collect)
    .action((paths: string[], flags) =>
      done(async (shell) => (await import("./verbs/build-config.ts")).buildConfig(paths, flags, shell)),
    );

  addressOptions(skein.command("shutdown"))
    .description("take every application away; with --mesh end the mesh too")
    .option("-y, --yes", "don't ask")
    .option("--mesh", "end the mesh too, on every machine that only serves it")
    .action((flags) => done(async (shell) => (await import("./verbs/shutdown.ts")).shutdown(flags, shell)));

  addressOptions(skein.command("logs"))
    .description("what the replicas of an application have written")
    .argument("<app[/deployment]>", "application, or application/deployment")
    .option("-f, --follow", "go on as more is written")
    .action((target: string, flags) =>
      done(async (shell) => (await import("./verbs/logs.ts")).logs(target, flags, shell)),
    );

  addressOptions(skein.command("chat"))
    .description("talk to a running application")
    .argument("[prompt...]", "a question; without one: a conversation, or what is piped in")
    .option("-n, --name <application>", "which application, if there are several")
    .option("--url <url>", "where to send it, instead of asking the mesh")
    .action((prompt: string[], flags) =>
      done(async (shell) => (await import("./verbs/chat.ts")).chat(prompt, flags, shell)),
    );

  addressOptions(skein.command("exec"))
    .description("run a script that uses a mesh: run(), status(), getAppHandle() of `skein`")
    .argument("<script>", "TypeScript or JavaScript file, anywhere")
    .argument("[arguments...]", "arguments of the script")
    .passThroughOptions()
    .action((file: string, args: string[], flags) =>
      done(async (shell) => (await import("./verbs/exec.ts")).exec(file, args, flags, shell)),
    );

  reading(skein.command("doctor"))
    .description("what this machine can do, and what to mend")
    .action((flags) => done(async (shell) => (await import("./verbs/doctor.ts")).doctor(flags, shell)));

  const models = skein.command("models").description("models on this machine's disk").helpCommand(false);
  dataDir(models.command("list"))
    .description("what is there, and what has a name")
    .option("--json", "JSON, the same in every version")
    .action((flags) => done(async (shell) => (await import("./verbs/models.ts")).listModels(flags, shell)));
  dataDir(models.command("pull"))
    .description("fetch a model, or go on where it stopped; prints where it lies")
    .argument("<name>", "a name of the list, hf:owner/repository[:file.gguf], or https://host/file.gguf#sha256=…")
    .action((name: string, flags) =>
      done(async (shell) => (await import("./verbs/models.ts")).pullModel(name, flags, shell)),
    );
  dataDir(models.command("show"))
    .description("what a model is and needs")
    .argument("<name>", "a name of the list")
    .option("--json", "JSON, the same in every version")
    .action((name: string, flags) =>
      done(async (shell) => (await import("./verbs/models.ts")).showModel(name, flags, shell)),
    );
  dataDir(models.command("rm"))
    .description("remove a model from the disk")
    .argument("<name>", "a name of the list")
    .action((name: string, flags) =>
      done(async (shell) => (await import("./verbs/models.ts")).removeModel(name, flags, shell)),
    );
  dataDir(skein.command("bench"))
    .description("how fast a model is on this machine, on each provider that it has")
    .argument("<model>", "name of a model, for example smollm2-135m-instruct")
    .addOption(
      new Option("--device <device>", "measure one provider only").choices(["auto", "webgpu", "native", "wasm"]),
    )
    .option("--threads <n>", "threads to compute with (default: all processors)", positive)
    .option("--allow-software-gpu", "measure a software adapter (SwiftShader) too")
    .option("--short", "a few seconds only: to see that it works; figures waver")
    .option("--json", "JSON")
    .action((model: string, flags) =>
      done(async (shell) => (await import("./verbs/bench.ts")).bench(model, flags, shell)),
    );

  const token = skein.command("join-token").description("tokens with which machines join").helpCommand(false);
  reading(token.command("create"))
    .description("make a token; it is shown once")
    .option("--expires <seconds>", "seconds until it expires (default: an hour)", positive)
    .option("--uses <n>", "how many workers it admits (default: 1)", positive)
    .action((flags) => done(async (shell) => (await import("./verbs/join-token.ts")).createToken(flags, shell)));
  reading(token.command("list"))
    .description("tokens that are valid now")
    .action((flags) => done(async (shell) => (await import("./verbs/join-token.ts")).listTokens(flags, shell)));
  addressOptions(token.command("revoke"))
    .description("make a token invalid")
    .argument("<id>", "id of the token, from the list")
    .action((id: string, flags) =>
      done(async (shell) => (await import("./verbs/join-token.ts")).revokeToken(id, flags, shell)),
    );

  const key = skein.command("api-key").description("who may call an application").helpCommand(false);
  reading(key.command("create"))
    .description("make a key, which is shown once; from the first one on the application can't be called without")
    .requiredOption("--app <name>", "application that it opens")
    .option("--name <label>", "what it is called in lists")
    .option("--expires <time>", "until it expires: 30d, 12h, 15m or seconds (default: never)", duration)
    .action((flags) => done(async (shell) => (await import("./verbs/api-key.ts")).createKey(flags, shell)));
  reading(key.command("list"))
    .description("keys of all applications, without the keys themselves")
    .action((flags) => done(async (shell) => (await import("./verbs/api-key.ts")).listKeys(flags, shell)));
  addressOptions(key.command("revoke"))
    .description("make a key invalid; its application stays closed, also when it was the last one")
    .argument("<id>", "id of the key, from the list or from the key itself")
    .action((id: string, flags) =>
      done(async (shell) => (await import("./verbs/api-key.ts")).revokeKey(id, flags, shell)),
    );
  addressOptions(key.command("open"))
    .description("take all keys of an application away and let everyone call it")
    .argument("<app>", "name of the application")
    .action((app: string, flags) =>
      done(async (shell) => (await import("./verbs/api-key.ts")).openApplication(app, flags, shell)),
    );

  skein
    .command("version")
    .description("versions of Skein, its protocol and Node")
    .option("--json", "JSON")
    .action((flags) => done(async (shell) => (await import("./verbs/version.ts")).version(flags, shell)));

  meshOptions(dataDir(skein.command("quickstart", { hidden: true })))
    .description("what `npm start` does")
    .addOption(jsonReady())
    .action((flags) => done(async (shell) => (await import("./verbs/quickstart.ts")).quickstart(flags, shell)));

  return skein;
}

// --- options that several verbs share --------------------------------------------------------------------------------------

const dataDir = (command: Command): Command =>
  command.option(
    "--data-dir <folder>",
    "keys, state, logs and models (default: SKEIN_DATA_DIR, else the user's data folder)",
  );

const addressOptions = (command: Command): Command =>
  dataDir(command).option(
    "-a, --address <url>",
    "operators' API of the mesh (default: the mesh on this machine, else http://127.0.0.1:8265)",
  );

const reading = (command: Command): Command =>
  addressOptions(command).option("--json", "JSON, the same in every version");

const jsonReady = (): Option => new Option("--json-ready", "print one JSON line on stdout when all is up").hideHelp();

const runtimeEnvOptions = (command: Command): Command =>
  command
    .option("--runtime-env <file>", "YAML file with the application's runtime_env (env_vars, working_dir)")
    .option("--runtime-env-json <json>", "the same as JSON", jsonObject)
    .option("--working-dir <folder>", "folder in which this application's modules are looked up");

const workerOptions = (command: Command): Command =>
  command
    .option("--worker-name <name>", "how this worker is called (default: the machine's name)")
    .option("--cpus <n>", "CPUs to offer (default: all)", number)
    .option("--gpus <n>", "GPUs to offer (default: those found)", number)
    .option("--resources <json>", "custom resources to offer, for example '{\"scanner\": 1}'")
    .addOption(new Option("--device <device>", "what models run on").choices(["auto", "webgpu", "native", "wasm"]))
    .option("--allow-software-gpu", "let a software adapter (SwiftShader) count as a GPU")
    .option(
      "--ingress-host <host>",
      "where this host's ingress listens for replicas (default: where other machines of the mesh reach this one)",
    )
    .option("--ingress-port <port>", "its port (default: any free one)", port)
    .option(
      "--ingress-advertise <url>",
      "URL under which replicas on other machines reach it; may be repeated",
      collect,
    )
    .option("--log-level <level>", "how much the programs log");

const meshOptions = (command: Command): Command =>
  workerOptions(command)
    .on("option:port", (text: string) => command.setOptionValue("dashboardPort", port(text)))
    .option("--dashboard-host <host>", "where the operators' API listens (default: 127.0.0.1)")
    .option("--dashboard-port <port>", "its port (default: 8265)", port)
    .addOption(new Option("--port <port>", "the same").argParser(port).hideHelp())
    .option("--mesh-host <host>", "where workers join (default: 127.0.0.1)")
    .option("--mesh-port <port>", "its port (default: 8266)", port)
    .option("--advertise <url>", "URL under which other machines reach the mesh port; may be repeated", collect)
    .option(
      "--http-host <host>",
      "where HTTP clients are listened for (default: what the first deploy says, else 127.0.0.1)",
    )
    .option("--http-port <port>", "its port (default: what the first deploy says, else 8000)", port)
    .option("--cert <file>", "TLS certificate of the mesh port (PEM); without one, off loopback: a self-signed one")
    .option("--key <file>", "its private key (PEM)")
    .option("--insecure", "allow plain connections from other machines")
    .option("--insecure-local-api", "no admin token on loopback, as in Ray")
    .option("--require-approval", "workers that join wait until they are approved");

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0)) throw new InvalidArgumentError("Expected a number, 0 or more.");
  return value;
}

function port(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isInteger(value) || value < 0 || value > 65_535)
    throw new InvalidArgumentError("Expected a port: a whole number from 0 to 65535.");
  return value;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("Expected a whole number, 1 or more.");
  return value;
}

/** Seconds of `30d`, `12h`, `15m`, `45s` or a plain number. */
function duration(text: string): number {
  const [, digits = "", unit = "s"] = /^(\d+)([smhd]?)$/.exec(text) ?? [];
  const seconds = Number(digits) * ({ m: 60, h: 3_600, d: 86_400 }[unit] ?? 1);
  if (digits === "" || seconds < 1) throw new InvalidArgumentError("Expected a time such as 30d, 12h, 15m or 60.");
  return seconds;
}

const collect = (text: string, before: readonly string[] | undefined): string[] => [...(before ?? []), text];

function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new InvalidArgumentError('Expected a JSON object, for example \'{"env_vars": {"A": "1"}}\'.');
}
