/**
 * One of several processes that want the same model: `fetch-tiny-main.ts <dataDir> <hub endpoint> [name] [--no-look]` prints the path.
 * `--no-look`: doesn't ask the disk for room, so that it finds out by writing.
 */
import { fetchModel } from "../../../worker/models/fetch-model.ts";
import { find, noPython } from "./sources.ts";

const [dataDir = "", hubEndpoint = "", name = "tiny", noLook] = process.argv.slice(2);
const { path } = await fetchModel(name, {
  dataDir,
  hubEndpoint,
  fetch,
  run: noPython,
  now: () => performance.now(),
  find,
  ...(noLook === undefined ? {} : { freeSpace: () => Promise.resolve(Infinity) }),
});
process.stdout.write(path);
