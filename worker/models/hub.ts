/** Where files of a Hugging Face hub are, and who asks for them. Asks nothing itself. */
import { type CatalogueModel, HUB_ENDPOINT } from "./catalogue.ts";
import type { RemoteFile } from "./download.ts";
import type { Patience } from "./patience.ts";
import type { Content } from "./verified-file.ts";

/** What must be known of a file to take it from a hub. */
export type HubFile = Content & Pick<CatalogueModel, "hub">;

/** A file of a hub: `<endpoint>/<repository>/resolve/<revision>/<file>`. */
export function hubFile(
  { hub: { repository, revision, file } }: Pick<CatalogueModel, "hub">,
  {
    hubEndpoint: endpoint = HUB_ENDPOINT,
    hubToken,
  }: { readonly hubEndpoint?: string | undefined; readonly hubToken?: string | undefined },
  patience: Patience,
): RemoteFile {
  return {
    url: `${endpoint.replace(/\/+$/, "")}/${repository}/resolve/${revision}/${file}`,
    headers: authorization(hubToken),
    server: endpoint,
    label: repository,
    stage: "hub",
    patience,
  };
}

/** The header that says who asks. */
export function authorization(token: string | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}
