// One deployment calls two others through typed handles: curl -d '["ADD", 2]' localhost:8000
import { deployment, type DeploymentHandle } from "skein";

export class Adder {
  increment = 2;

  reconfigure(config: { increment: number }) {
    this.increment = config.increment;
  }

  add(n: number) {
    return n + this.increment;
  }
}

export class Counter {
  async *countTo(n: number) {
    for (let i = 1; i <= n; i++) yield i;
  }
}

class Router {
  adder: DeploymentHandle<Adder>;
  counter: DeploymentHandle<Counter>;

  constructor(adder: DeploymentHandle<Adder>, counter: DeploymentHandle<Counter>) {
    this.adder = adder;
    this.counter = counter;
  }

  async fetch(request: Request) {
    const [operation, n]: [string, number] = await request.json();
    if (operation === "COUNT") return this.count(n);
    return `${await this.adder.add(n)} pizzas please!`;
  }

  async *count(n: number) {
    for await (const i of this.counter.countTo(n)) yield `${i}\n`;
  }
}

const light = { rayActorOptions: { numCpus: 0.1 } };
const adder = deployment(Adder, { ...light, userConfig: { increment: 2 } }).bind();
const counter = deployment(Counter, light).bind();

export const app = deployment(Router, light).bind(adder, counter);
