/** Where a secret could end up: files, what programs said, command lines and environments of processes, answers. And what listens where. Linux only. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";

/** By what it is called. */
type Secrets = Readonly<Record<string, string | RegExp>>;

/** Tickets by their form: claims begin with their use. */
export const TICKET = /eyJ1c2Ui[\w-]+\.[\w-]{80}/;
/** 256 random bits as this project writes them, alone: a token that nobody here knows, such as the one for the first worker. */
export const TOKEN_SHAPED = /(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{43}(?![\w-])/;

/** One line per secret that `text` holds; `meant` are those that belong there. */
export function leaks(where: string, text: string, secrets: Secrets, meant: readonly string[] = []): string[] {
  return Object.entries(secrets).flatMap(([name, secret]) =>
    meant.includes(name) || !(typeof secret === "string" ? text.includes(secret) : secret.test(text))
      ? []
      : [`${name} in ${where}`],
  );
}

/** Everything below a folder, links not followed. `meant`: by path (a name or a pattern), which secrets belong there. */
export function leaksInFiles(
  folder: string,
  secrets: Secrets,
  meant: readonly (readonly [path: RegExp, names: readonly string[]])[],
): { found: string[]; read: string[] } {
  const found: string[] = [];
  const read: string[] = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (!entry.isFile()) continue;
    let bytes: Buffer;
    try {
      bytes = readFileSync(file);
    } catch (error) {
      // Scratch files come and go with replicas.
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    const path = relative(folder, file);
    read.push(path);
    const allowed = meant.flatMap(([pattern, names]) => (pattern.test(path) ? names : []));
    found.push(...leaks(path, bytes.toString("latin1"), secrets, allowed));
  }
  return { found, read };
}

/** Command line and environment of processes; one that has ended says nothing. `meant`: by pid, which secrets its environment was given by a person. */
export function leaksInProcesses(
  processes: ReadonlyMap<number, string>,
  secrets: Secrets,
  meant: ReadonlyMap<number, readonly string[]>,
): string[] {
  return [...processes].flatMap(([pid, command]) =>
    ["cmdline", "environ"].flatMap((file) => {
      try {
        const text = readFileSync(`/proc/${pid}/${file}`, "latin1");
        return leaks(`${file} of ${command}`, text, secrets, file === "environ" ? meant.get(pid) : []);
      } catch {
        return [];
      }
    }),
  );
}

/** Addresses on which these processes listen, as the kernel has them: "127.0.0.1:8000". */
export function listeners(pids: Iterable<number>): string[] {
  const inodes = new Set<string>();
  for (const pid of pids)
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    }
  return ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, "utf8")
      .split("\n")
      .slice(1)
      .flatMap((line) => {
        const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
        return state === LISTENING && inodes.has(inode) ? [addressOf(local)] : [];
      }),
  );
}

const LISTENING = "0A";

function linkOf(path: string): string {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : "";
  } catch {
    return "";
  }
}

/** `0100007F:1F40` is 127.0.0.1:8000: words of four bytes, the lowest first. */
function addressOf(text: string): string {
  const [hex = "", port = ""] = text.split(":");
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => [...Buffer.from(word, "hex")].toReversed());
  const v6 = bytes.length === 16;
  const mapped = v6 && bytes.slice(0, 10).every((b) => b === 0) && bytes[10] === 255;
  const loopback6 = v6 && bytes.slice(0, 15).every((b) => b === 0) && bytes[15] === 1;
  const name = loopback6
    ? "[::1]"
    : v6 && !mapped
      ? `[${Buffer.from(bytes).toString("hex")}]`
      : bytes.slice(-4).join(".");
  return `${name}:${parseInt(port, 16)}`;
}
