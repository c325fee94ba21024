import { deployment } from "skein";
import { LanguageModel } from "skein/llm";

class LLM {
  model!: LanguageModel;

  async init() {
    this.model = await LanguageModel.load("smollm2-135m-instruct");
  }

  chat(prompt: string) {
    return this.model.chat([{ role: "user", content: prompt }], { maxTokens: 1024 });
  }

  async fetch(request: Request) {
    return this.chat(await request.json());
  }
}

export const chat = deployment(LLM, { rayActorOptions: { numCpus: 1, numGpus: "auto" } }).bind();
