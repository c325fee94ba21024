/**
 * Which mesh a verb talks to, and with which credential.
 * Address: `--address`, `SKEIN_ADDRESS`, `RAY_DASHBOARD_ADDRESS`, the mesh of the data directory, else Ray's default.
 */
import { resolve } from "node:path";
import { Client, readToken } from "./client.ts";
import { explain, CommandFailed } from "./failure.ts";
import { EXIT } from "../protocol/errors.ts";
import { readMeshRecord, type MeshRecord } from "./mesh/record.ts";
import type { Shell } from "./shell.ts";

export const DEFAULT_ADDRESS = "http://127.0.0.1:8265";
/** A live coordinator on this machine answers well within this, ms. */
const ALIVE_WITHIN_MS = 1_500;

export interface AddressOptions {
  readonly address?: string;
  readonly dataDir?: string;
}

export const dataDirOf = (options: AddressOptions, shell: Shell): string =>
  options.dataDir === undefined ? shell.dataDirectory : resolve(shell.cwd, options.dataDir);

/** A client for the mesh that the options name. Does not ask whether it is there. */
export async function connect(options: AddressOptions, shell: Shell): Promise<Client> {
  const record = await readMeshRecord(dataDirOf(options, shell));
  const named = options.address ?? shell.env["SKEIN_ADDRESS"] ?? shell.env["RAY_DASHBOARD_ADDRESS"];
  const address = checked(named ?? record?.operatorsUrl ?? DEFAULT_ADDRESS);
  return new Client(address, await tokenFor(address, record, shell), shell.fetch, shell.stop);
}

/** The mesh that runs on this machine with this data directory (or the one that was named), if it answers. */
export async function liveMesh(options: AddressOptions, shell: Shell): Promise<Client | undefined> {
  const named = options.address ?? shell.env["SKEIN_ADDRESS"] ?? shell.env["RAY_DASHBOARD_ADDRESS"];
  if (named === undefined && (await readMeshRecord(dataDirOf(options, shell))) === undefined) return undefined;
  const client = await connect(options, shell);
  if (await client.alive(ALIVE_WITHIN_MS)) return client;
  if (named === undefined) return undefined;
  throw new CommandFailed(
    EXIT.unreachable,
    `No mesh answers at ${client.address}. Leave --address and SKEIN_ADDRESS out to start one here.`,
  );
}

function checked(address: string): string {
  const url = URL.parse(address.includes("://") ? address : `http://${address}`);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new CommandFailed(EXIT.usage, `Not an address: "${address}". Expected a URL such as ${DEFAULT_ADDRESS}.`);
  return url.origin;
}

/** The token of the data directory goes only to the mesh that it belongs to. */
async function tokenFor(address: string, record: MeshRecord | undefined, shell: Shell): Promise<string | null> {
  const given = shell.env["SKEIN_ADMIN_TOKEN"];
  if (given !== undefined && given !== "") return given.trim();
  if (record === undefined || !sameOrigin(address, record.operatorsUrl)) return null;
  try {
    return await readToken(record.adminTokenFile);
  } catch (thrown) {
    throw new CommandFailed(EXIT.notAllowed, `The admin token can't be read: ${explain(thrown).message}`, {
      cause: thrown,
    });
  }
}

function sameOrigin(a: string, b: string): boolean {
  const plain = (address: string): string => {
    const url = new URL(address);
    return `${url.protocol}//${/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname) ? "loopback" : url.hostname}:${url.port}`;
  };
  return plain(a) === plain(b);
}
