/** One of several processes that want the same model: `fetch-tiny-main.ts <dataDir> <hub endpoint>` prints the path. */
import { fetchModel } from "../../../worker/models/fetch-model.ts";
import { find, noPython } from "./sources.ts";

const [dataDir = "", hubEndpoint = ""] = process.argv.slice(2);
const { path } = await fetchModel("tiny", {
  dataDir,
  hubEndpoint,
  fetch,
  run: noPython,
  now: () => performance.now(),
  find,
});
process.stdout.write(path);
