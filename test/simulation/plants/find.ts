/** How many seeds it takes until a planted bug is found, and by which invariant. */
import type { SimOptions } from "../options";
import { runSeeds } from "../pool";
import { PLANTS } from "./all";

export interface PlantFound {
  readonly name: string;
  /** How many seeds ran until one failed; null: none did. */
  readonly seeds: number | null;
  readonly seed: number;
  /** All that broke in the event that ended the run. */
  readonly broken: readonly string[];
  readonly message: string;
}

/** @returns 0 when every plant asked for was found */
export async function findPlants(options: SimOptions): Promise<number> {
  const names = options.plant === "all" ? PLANTS.map(({ name }) => name) : (options.plant ?? "").split(",");
  const unknown = names.find((name) => !PLANTS.some((plant) => plant.name === name));
  if (unknown !== undefined) {
    console.error(`there is no plant ${unknown}; there are: ${PLANTS.map(({ name }) => name).join(", ")}`);
    return 2;
  }
  let missed = 0;
  for (const name of names) {
    const found = await findPlant(name, options);
    if (found.seeds === null) missed++;
    const how =
      found.seeds === null
        ? `NOT FOUND in ${options.lastSeed - options.firstSeed + 1} seeds`
        : `${found.broken.join(", ")}: after ${found.seeds} seeds (seed ${found.seed}): ${found.message.split("\n")[0] ?? ""}`;
    console.log(`${name}: ${how}`);
  }
  console.log(`${names.length - missed} passed, ${missed} failed`);
  return missed === 0 ? 0 : 1;
}

export async function findPlant(name: string, options: SimOptions): Promise<PlantFound> {
  const { firstSeed, lastSeed, events, without } = options;
  let ran = 0;
  let found: PlantFound = { name, seeds: null, seed: 0, broken: [], message: "" };
  const job = { events, without, twice: false };
  await runSeeds({ first: firstSeed, last: lastSeed }, job, { ...options, plant: name }, ({ result }) => {
    ran++;
    if (result.failure === null) return true;
    const { broken, message } = result.failure;
    found = { name, seeds: ran, seed: result.seed, broken, message };
    return false;
  });
  return found;
}
