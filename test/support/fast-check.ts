/** fast-check with the same cases at each run: what fails, fails for everybody. SKEIN_SEED=7 looks at others; a failure names its seed. */
import { configureGlobal } from "fast-check";

configureGlobal({ seed: Number(process.env["SKEIN_SEED"] ?? 1) });
export { default } from "fast-check";
