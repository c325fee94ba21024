/** `skein join-token`: makes, lists and revokes what machines join with. A token is shown once, when it is made. */
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
    // Only the token on stdout, so that TOKEN=$(skein join-token create) works.
    shell.out(`${made.token}\n`);
    shell.note(`A machine joins with:  skein worker join ${made.url ?? "<mesh url>"} --token <that token>`);
    if (made.link !== undefined) shell.note(`A browser joins at:    ${made.link}`);
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
