import { beforeAll, describe, expect, it } from "vitest";
import { generateKeys, signTicket, verifyTicket, type PublicKey, type Ticket } from "../../protocol/ticket.ts";

const claims: Ticket = { use: "worker", kid: "k1", notAfter: 1_000, worker: "w", host: "h" };
let privateKey: CryptoKey;
let publicKey: PublicKey;
let other: Awaited<ReturnType<typeof generateKeys>>;
beforeAll(async () => {
  ({ privateKey, publicKey } = await generateKeys("k1"));
  other = await generateKeys("k1");
});

describe("a ticket", () => {
  it("is checked by the public key alone", async () => {
    expect(await verifyTicket(await signTicket(claims, privateKey), [publicKey], 1_000)).toEqual(claims);
  });

  it.each<[string, (good: string) => Promise<[string, PublicKey[], number]> | [string, PublicKey[], number], string]>([
    ["expired", (good) => [good, [publicKey], 1_001], "expired"],
    [
      "of another mesh",
      async () => [await signTicket(claims, other.privateKey), [publicKey], 0],
      "not signed by this mesh",
    ],
    ["with an unknown key id", (good) => [good, [{ ...publicKey, kid: "k2" }], 0], "not signed by this mesh"],
    [
      "with changed claims",
      (good) => [
        btoa(JSON.stringify({ ...claims, worker: "evil" })).replace(/=+$/, "") + good.slice(good.indexOf(".")),
        [publicKey],
        0,
      ],
      "not signed by this mesh",
    ],
    ["without a signature", (good) => [good.split(".")[0]!, [publicKey], 0], "malformed"],
    [
      "of no known use",
      async () => [await signTicket({ ...claims, use: "admin" } as never, privateKey), [publicKey], 0],
      "malformed",
    ],
    ["that is endless", () => ["a.".repeat(20_000), [publicKey], 0], "malformed"],
    ["that is empty", () => ["", [publicKey], 0], "malformed"],
  ])("%s is refused", async (_name, make, why) => {
    const [text, keys, now] = await make(await signTicket(claims, privateKey));
    await expect(verifyTicket(text, keys, now)).rejects.toMatchObject({
      code: "UNAUTHENTICATED",
      message: expect.stringContaining(why),
    });
  });
});
