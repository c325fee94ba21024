// A script that uses a running mesh: `skein start` in one terminal, `skein exec script.ts` in another.
import * as serve from "skein";
import { app, type Adder, type Counter } from "./compose.ts";

await serve.run(app, { name: "pizzas", routePrefix: "/pizzas" });
const adder = await serve.getDeploymentHandle<Adder>("Adder", "pizzas");
console.log(`${await adder.add(2)} pizzas please!`);
const counter = await serve.getDeploymentHandle<Counter>("Counter", "pizzas");
for await (const i of counter.countTo(3)) console.log(i);
await serve.delete("pizzas");
