/** `skein join-token`: makes, lists and revokes what machines join with. A token is shown once, when it is made. */
import { isExposed } from "../../protocol/address.ts";
import { EXIT } from "../../protocol/errors.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { table } from "../table.ts";
import type { Shell } from "../shell.ts";

interface CreateFlags extends AddressOptions {
  /** Seconds. */
  readonly expires?: number;
  readonly uses?: number;
  readonly json?: boolean;
}

export async function createToken(flags: CreateFlags, shell: Shell): Promise<number> {
  const made = await (
    await connect(flags, shell)
  ).createJoinToken({
    ...(flags.expires === undefined ? {} : { expires_in_s: flags.expires }),
    ...(flags.uses === undefined ? {} : { max_uses: flags.uses }),
  });
  if (flags.json === true) shell.out(`${JSON.stringify(made)}\n`);
  else {
    const link = made.link ?? `<mesh url>/join#token=${made.token}`;
    // In double quotes: they mean the same in every shell, and a fragment has an ampersand.
    shell.out(`skein worker join "${link}"${isExposed(link) ? " --insecure" : ""}\n`);
    shell.note("Paste this line on the machine that shall join. A browser joins by opening the link.");
  }
  return EXIT.ok;
}

export async function listTokens(flags: AddressOptions & { readonly json?: boolean }, shell: Shell): Promise<number> {
  const tokens = await (await connect(flags, shell)).joinTokens();
  if (flags.json === true) shell.out(`${JSON.stringify(tokens, null, 2)}\n`);
  else {
    shell.out(
      table(
        ["ID", "EXPIRES", "USES LEFT"],
        tokens.map((t) => [t.id, new Date(t.expires_at_ms).toISOString(), String(t.uses_left)]),
      ),
    );
  }
  return EXIT.ok;
}

export async function revokeToken(id: string, flags: AddressOptions, shell: Shell): Promise<number> {
  await (await connect(flags, shell)).revokeJoinToken(id);
  shell.note(`Revoked ${id}: nobody joins with it any more. Workers that have joined stay.`);
  return EXIT.ok;
}
