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

const DAY_S = 86_400;

export async function createToken(flags: CreateFlags, shell: Shell): Promise<number> {
  const made = await (await connect(flags, shell)).createJoinToken({ expires_in_s: flags.expires ?? DAY_S, max_uses: flags.uses ?? null });
  if (flags.json === true) shell.out(`${JSON.stringify(made)}\n`);
  else {
    // Only the token on stdout, so that TOKEN=$(skein join-token create) works.
    shell.out(`${made.token}\n`);
    shell.note(`Join with:  skein worker join ${made.url ?? "<mesh url>"} --token <the line above>`);
  }
  return EXIT.ok;
}

export async function listTokens(flags: AddressOptions & { readonly json?: boolean }, shell: Shell): Promise<number> {
  const tokens = await (await connect(flags, shell)).joinTokens();
  if (flags.json === true) shell.out(`${JSON.stringify(tokens, null, 2)}\n`);
  else {
    const when = (ms: number | null): string => (ms === null ? "never" : new Date(ms).toISOString());
    shell.out(table(["ID", "EXPIRES", "USES LEFT"], tokens.map((t) => [t.id, when(t.expires_at_ms), t.uses_left === null ? "any" : String(t.uses_left)])));
  }
  return EXIT.ok;
}

export async function revokeToken(id: string, flags: AddressOptions, shell: Shell): Promise<number> {
  await (await connect(flags, shell)).revokeJoinToken(id);
  shell.note(`Revoked ${id}: nobody joins with it any more. Workers that have joined stay.`);
  return EXIT.ok;
}
