/** `skein api-key`: makes, lists and revokes what callers of an application show. A key is shown once, when it is made. */
import { EXIT } from "../../protocol/errors.ts";
import { connect, type AddressOptions } from "../connect.ts";
import type { Shell } from "../shell.ts";
import { table } from "../table.ts";

interface CreateFlags extends AddressOptions {
  readonly app: string;
  readonly name?: string;
  /** Seconds. */
  readonly expires?: number;
  readonly json?: boolean;
}

export async function createKey(flags: CreateFlags, shell: Shell): Promise<number> {
  const made = await (
    await connect(flags, shell)
  ).createApiKey({
    app: flags.app,
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.expires === undefined ? {} : { expires_in_s: flags.expires }),
  });
  if (flags.json === true) shell.out(`${JSON.stringify(made)}\n`);
  else {
    // Only the key on stdout, so that KEY=$(skein api-key create --app chat) works.
    shell.out(`${made.key}\n`);
    shell.note(
      "Callers send it as  Authorization: Bearer <that key>  (OpenAI clients: api_key). It is not shown again.",
    );
  }
  if (!made.deployed)
    shell.note(`There is no application "${made.app}" yet: when it is deployed, it can't be called without a key.`);
  return EXIT.ok;
}

export async function listKeys(flags: AddressOptions & { readonly json?: boolean }, shell: Shell): Promise<number> {
  const list = await (await connect(flags, shell)).apiKeys();
  if (flags.json === true) shell.out(`${JSON.stringify(list, null, 2)}\n`);
  else {
    const when = (ms: number | null): string => (ms === null ? "never" : new Date(ms).toISOString());
    shell.out(
      table(
        ["ID", "APPLICATION", "NAME", "CREATED", "EXPIRES"],
        list.keys.map((k) => [
          k.id,
          k.app,
          k.name,
          when(k.created_at_ms),
          `${when(k.expires_at_ms)}${k.expired ? " (expired)" : ""}`,
        ]),
      ),
    );
    for (const app of list.unreachable)
      shell.note(
        `"${app}" has no valid key, so nobody can call it. Make one, or let everyone in: \`skein api-key open ${app}\`.`,
      );
  }
  return EXIT.ok;
}

export async function revokeKey(id: string, flags: AddressOptions, shell: Shell): Promise<number> {
  await (await connect(flags, shell)).revokeApiKey(id);
  shell.note(`Revoked ${id}: new requests with it are refused. Requests and sockets that are open go on.`);
  return EXIT.ok;
}

export async function openApplication(app: string, flags: AddressOptions, shell: Shell): Promise<number> {
  await (await connect(flags, shell)).openApplication(app);
  shell.note(`"${app}" asks for no key any more: everyone who reaches it can call it.`);
  return EXIT.ok;
}
