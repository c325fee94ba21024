import { deployment } from "skein";

// In the builder too, which runs this to see what there is.
console.log(`loaded with ${JSON.stringify(process.env)}`);

/** Says and tells all that its code can see: what must stay secret must not be among it. */
class Vault {
  async fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/die") process.exit(3);
    const seen = {
      headers: Object.fromEntries(request.headers),
      env: process.env,
      argv: [process.argv, process.execArgv],
    };
    console.log(JSON.stringify(seen));
    if (pathname === "/fail") throw new Error(`failed with ${JSON.stringify(seen)}`);
    return seen;
  }
}
export const app = deployment(Vault, { numReplicas: 2, rayActorOptions: { numCpus: 0.1 } }).bind();
