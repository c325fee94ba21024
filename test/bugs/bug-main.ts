/** Runs seeds with one bug planted until an invariant fails: `node test/bugs/bug-main.ts <name> <from> <count>`. Prints one JSON line. */
import { BANK } from "./bank.ts";
import { plant } from "./plant.ts";

const [name, from = "1", count = "200"] = process.argv.slice(2);
const bug = BANK.find((one) => one.name === name);
if (bug === undefined) throw new Error(`There is no bug "${name}" in the bank.`);
plant(bug);
const { runSeed } = await import("../sim/world.ts");
let caught: { seed: number; violation: string } | null = null;
for (let seed = Number(from); caught === null && seed < Number(from) + Number(count); seed += 1) {
  try {
    const { violations } = await runSeed(seed);
    if (violations[0] !== undefined) caught = { seed, violation: violations[0] };
  } catch (error) {
    caught = { seed, violation: `threw ${String(error)}` };
  }
}
console.log(JSON.stringify({ name, caught }));
