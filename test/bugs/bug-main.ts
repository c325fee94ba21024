/**
 * Runs seeds with one bug planted until an invariant fails: `node test/bugs/bug-main.ts <name> [<first seed>]`, then seeds from 1 on,
 * because a change elsewhere may have moved what the first seed does. Prints one JSON line.
 */
import { BANK, BANK_SEEDS_MAX } from "./bank.ts";
import { plant } from "./plant.ts";

const [name, first] = process.argv.slice(2);
const bug = BANK.find((one) => one.name === name);
if (bug === undefined) throw new Error(`There is no bug "${name}" in the bank.`);
plant(bug);
const { runSeed } = await import("../sim/world.ts");
let caught: { seed: number; violation: string } | null = null;
const seeds = Array.from({ length: BANK_SEEDS_MAX }, (_, i) => i + 1);
if (first !== undefined) seeds.unshift(Number(first));
for (const seed of seeds) {
  if (caught !== null) break;
  try {
    const { violations } = await runSeed(seed);
    if (violations[0] !== undefined) caught = { seed, violation: violations[0] };
  } catch (error) {
    caught = { seed, violation: `threw ${String(error)}` };
  }
}
console.log(JSON.stringify({ name, caught }));
