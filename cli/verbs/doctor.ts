/** `skein doctor`: what this machine can do, and what to mend. Exit 1 when something fails. */
import { EXIT } from "../../protocol/errors.ts";
import { dataDirOf, liveMesh, type AddressOptions } from "../connect.ts";
import { checks, doctorText } from "../doctor/checks.ts";
import { probe } from "../doctor/probe.ts";
import { Interrupted } from "../failure.ts";
import type { Shell } from "../shell.ts";

export async function doctor(flags: AddressOptions & { readonly json?: boolean }, shell: Shell): Promise<number> {
  shell.progress.show("Looking at this machine");
  const live = await liveMesh({ ...flags }, shell).catch(() => undefined);
  const list = checks(await probe(dataDirOf(flags, shell), live?.address ?? null, shell.env, shell.stop));
  shell.progress.clear();
  if (shell.stop.aborted) throw new Interrupted();
  shell.out(flags.json === true ? `${JSON.stringify(list, null, 2)}\n` : doctorText(list));
  return list.some((check) => check.level === "fail") ? EXIT.failed : EXIT.ok;
}
