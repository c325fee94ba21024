/** Certificates as a signing authority makes them, for tests of ordinary verification. */
import selfsigned from "selfsigned";

/** PEM: the authority's certificate, and one for `name` that it has signed, with its key. */
export async function signed(name: string): Promise<{ ca: string; cert: string; key: string }> {
  const made = { keyType: "ec", algorithm: "sha256" } as const;
  const authority = await selfsigned.generate([{ name: "commonName", value: "test authority" }], {
    ...made,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, critical: true },
    ],
  });
  const leaf = await selfsigned.generate([{ name: "commonName", value: name }], {
    ...made,
    ca: { key: authority.private, cert: authority.cert },
  });
  return { ca: authority.cert, cert: leaf.cert, key: leaf.private };
}
