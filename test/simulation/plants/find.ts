/** How many seeds it takes until a planted bug is found, and by which invariant. */
import type { SimOptions } from "../options";
import { runSeeds } from "../pool";
import { PLANTS } from "./all";

/** Of each plant, so that the table names more than the first invariant that broke. */
const SEEDS_MIN = 40;

export interface PlantFound {
  readonly name: string;
  /** How many seeds ran until one failed; null: none did. */
  readonly seeds: number | null;
  readonly seed: number;
  /** All that broke in the events that ended the runs, the first run's first. */
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
    const found = await findPlant(name, options, SEEDS_MIN);
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

/** Runs seeds until one fails, and so many at least, for all that the bug breaks. */
export async function findPlant(name: string, options: SimOptions, seedsMin = 0): Promise<PlantFound> {
  const { firstSeed, lastSeed, events, without } = options;
  let ran = 0;
  let found: PlantFound = { name, seeds: null, seed: 0, broken: [], message: "" };
  const job = { events, without, twice: false };
  await runSeeds({ first: firstSeed, last: lastSeed }, job, { ...options, plant: name }, ({ result }) => {
    ran++;
    if (result.failure !== null) {
      const { broken, message } = result.failure;
      if (found.seeds === null) found = { name, seeds: ran, seed: result.seed, broken, message };
      else found = { ...found, broken: [...new Set([...found.broken, ...broken])] };
    }
    return found.seeds === null || ran < seedsMin;
  });
  return found;
}
