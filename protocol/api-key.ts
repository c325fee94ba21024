/**
 * API keys: what callers of an application show. `skein-<id>-<secret>`: the id is public and finds the key, the SHA-256 of the whole text
 * is all that is kept of it. Made by the coordinator, checked by every ingress with what its routing table says.
 */
import * as z from "zod";

export const apiKeySchema = z.strictObject({
  id: z.string(),
  /** SHA-256 of the key's text, hex. */
  hash: z.string(),
  /** ms since 1970, coordinator's clock; null: it doesn't expire. */
  expiresAtMs: z.number().nullable(),
});
export type RoutedApiKey = z.output<typeof apiKeySchema>;

/** Hex digits of an id. */
export const API_KEY_ID = 12;
const FORM = new RegExp(`^skein-([0-9a-f]{${API_KEY_ID}})-[\\w-]{43}$`);

export const apiKeyText = (id: string, secret: string): string => `skein-${id}-${secret}`;

/** The public part; null for what is no key. */
export const apiKeyId = (text: string): string | null => FORM.exec(text)?.[1] ?? null;
