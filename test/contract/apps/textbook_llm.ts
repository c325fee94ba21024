import { deployment } from "skein";

class FakeModel {
  generate(text: string) {
    if (typeof text !== "string") throw new TypeError("can only concatenate str");
    return `You said: ${text}`;
  }
}

class LLM {
  model = new FakeModel();
  chat(inputText: string) {
    return this.model.generate(inputText);
  }
  async fetch(request: Request) {
    return this.chat((await request.json()) as string);
  }
}
export const chat = deployment(LLM, { rayActorOptions: { numCpus: 0.5 } }).bind();
