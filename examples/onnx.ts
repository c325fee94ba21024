/** An ONNX model in code of one's own: `skein run onnx:app model=./model.onnx`, then `curl -d '{"x": [[1, 2, 3]]}' localhost:8000`. */
import { deployment } from "skein";
import { OnnxModel, tensor } from "skein/onnx";

class Scores {
  readonly path: string;
  model!: OnnxModel;

  constructor(path: string) {
    this.path = path;
  }

  async init() {
    this.model = await OnnxModel.load(this.path, { maxBatch: 64, warmUp: [{ x: [1, 3] }] });
  }

  /** Requests that come at a time are one run of the model. */
  async fetch(request: Request) {
    const { x } = (await request.json()) as { x: number[][] };
    const { y } = await this.model.run({ x: tensor("float32", x.flat(), [x.length, 3]) });
    return { y: [...y!.data], provider: this.model.provider };
  }
}

export const app = ({ model }: { model: string }) =>
  deployment(Scores, { rayActorOptions: { numCpus: 0.1 } }).bind(model);
