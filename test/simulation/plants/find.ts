/**
 * Finds planted bugs: how many seeds it takes and which invariants break. Also runs the seeds in found.json again, to
 * check that they still find their bugs.
 */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SimOptions } from "../options";
import { runSeeds } from "../pool";
import { PLANTS } from "./all";

/** Fewest seeds that are run of each plant, so that the record shows more than the first invariant that broke. */
const SEEDS_MIN = 6;
/** When a recorded seed no longer finds its bug, because random numbers are drawn differently, this many others run. */
const OTHER_SEEDS = 60;

const RECORD = join(__dirname, "found.json");
/** Invariants that have no file of their own in invariants/. */
const OTHER_INVARIANTS = [
  "liveness",
  "linearizable",
  "real_time",
  "one_roster",
  "starts",
  "never_fails",
  "ends_rightly",
  "no_unexpected_error",
  "watch_history",
];

/** One run that ended because of a planted bug. */
export interface BugRun {
  readonly seed: number;
  /** How many seeds had run with this bug, this one included. */
  readonly seeds: number;
  /** Every invariant that broke in the event that ended the run. */
  readonly broken: readonly string[];
  readonly message: string;
}

/** One row of the record: with this seed, this bug breaks these invariants. */
export interface RecordedRun {
  readonly plant: string;
  readonly seed: number;
  /** How many seeds it took; set in the first row of each plant. */
  readonly seeds: number;
  readonly broken: readonly string[];
}

/** @returns the exit code: 0 when every requested plant was found */
export async function findPlants(options: SimOptions): Promise<number> {
  if (options.plant === "recorded") return checkRecord(options);
  const names = options.plant === "all" ? PLANTS.map(({ name }) => name) : (options.plant ?? "").split(",");
  const unknown = names.find((name) => !PLANTS.some((plant) => plant.name === name));
  if (unknown !== undefined) {
    console.error(`there is no plant ${unknown}; there are: ${PLANTS.map(({ name }) => name).join(", ")}`);
    return 2;
  }
  const rows: RecordedRun[] = [];
  let missed = 0;
  for (const plant of names) {
    const runs = await findWithHint(plant, options);
    const first = runs[0];
    const breaks = breaksOf(plant);
    if (!isFound(plant, runs)) {
      missed++;
      const what = first === undefined ? "NOT FOUND" : `${breaks ?? ""} NOT BROKEN`;
      console.log(`${plant}: ${what} in ${options.lastSeed - options.firstSeed + 1} seeds`);
    }
    if (first === undefined) continue;
    rows.push(...runs.map(({ seed, seeds, broken }) => ({ plant, seed, seeds, broken })));
    const broken = [...new Set(runs.flatMap((run) => run.broken))].join(", ");
    const message = first.message.split("\n")[0] ?? "";
    console.log(`${plant}: ${broken}: after ${first.seeds} seeds (seed ${first.seed}): ${message}`);
  }
  if (options.record) record([...rows, ...recordedRuns().filter(({ plant }) => !names.includes(plant))]);
  console.log(`${names.length - missed} passed, ${missed} failed`);
  return missed === 0 ? 0 : 1;
}

function breaksOf(plant: string): string | undefined {
  return PLANTS.find(({ name }) => name === plant)?.breaks;
}

/** Whether one of the runs is what is looked for. */
function isFound(plant: string, runs: readonly Pick<BugRun, "broken">[]): boolean {
  const breaks = breaksOf(plant);
  return runs.some(({ broken }) => breaks === undefined || broken.includes(breaks));
}

/** Tries the seeds of the last record first: where they still find the bug, no long search is needed. */
async function findWithHint(plant: string, options: SimOptions): Promise<BugRun[]> {
  const again: BugRun[] = [];
  for (const { plant: name, seed, seeds } of options.record ? recordedRuns() : []) {
    if (name !== plant) continue;
    const runs = await findPlant(plant, { ...options, firstSeed: seed, lastSeed: seed });
    again.push(...runs.map((run) => ({ ...run, seeds })));
  }
  if (!isFound(plant, again)) return findPlant(plant, options, SEEDS_MIN);
  const others = await findPlant(plant, { ...options, firstSeed: 1, lastSeed: SEEDS_MIN }, SEEDS_MIN);
  return [...others, ...again];
}

/**
 * Runs seeds until the bug is found, and at least `seedsMin` of them. Returns the failed runs in the order of their end.
 */
export async function findPlant(name: string, options: SimOptions, seedsMin = 0): Promise<BugRun[]> {
  const { firstSeed, lastSeed, events, without } = options;
  let seeds = 0;
  const runs: BugRun[] = [];
  const job = { events, without, twice: false };
  await runSeeds({ first: firstSeed, last: lastSeed }, job, { ...options, plant: name }, ({ result }) => {
    seeds++;
    if (result.failure !== null) {
      const { broken, message } = result.failure;
      runs.push({ seed: result.seed, seeds, broken, message });
    }
    return !isFound(name, runs) || seeds < seedsMin;
  });
  return runs;
}

/**
 * Writes the first run of each plant, in the order of the plants, and every other run that breaks an invariant which no run
 * before it broke.
 *
 * @param found those of plants that did not run are as they were recorded
 */
function record(found: readonly RecordedRun[]): void {
  const rows = PLANTS.flatMap(({ name }) => found.filter(({ plant }) => plant === name));
  const kept: RecordedRun[] = rows.filter(
    (row, i) => rows.findIndex(({ plant }) => plant === row.plant) === i,
  );
  for (const row of rows) {
    const known = new Set(kept.flatMap(({ broken }) => broken));
    if (row.broken.some((invariant) => !known.has(invariant))) kept.push(row);
  }
  writeFileSync(RECORD, `[\n${kept.map((row) => `  ${JSON.stringify(row)}`).join(",\n")}\n]\n`);
}

export function recordedRuns(): readonly RecordedRun[] {
  return JSON.parse(readFileSync(RECORD, "utf8")) as RecordedRun[];
}

/** Runs the record again, and checks that every plant is found and that some plant breaks each invariant. */
async function checkRecord(options: SimOptions): Promise<number> {
  const broken = new Set<string>();
  let [passed, failed] = [0, 0];
  const count = (good: boolean, text: string): void => {
    if (good) passed++;
    else failed++;
    console.log(`${good ? "ok    " : "FAILED"} ${text}`);
  };
  const rows = recordedRuns();
  for (const row of rows) {
    const again = { ...options, firstSeed: row.seed, lastSeed: row.seed };
    let runs = await findPlant(row.plant, again);
    if (runs.length === 0)
      runs = await findPlant(row.plant, { ...options, firstSeed: 1, lastSeed: OTHER_SEEDS });
    const [run] = runs;
    for (const invariant of run?.broken ?? []) broken.add(invariant);
    const what =
      run === undefined ? `not found by seed ${row.seed}` : `seed ${run.seed}: ${run.broken.join(", ")}`;
    count(run !== undefined, `${row.plant}: ${what}`);
  }
  for (const { name } of PLANTS)
    if (!rows.some(({ plant }) => plant === name)) count(false, `${name}: is not in the record`);
  const files = readdirSync(join(__dirname, "..", "invariants")).map((file) => file.replace(/\.ts$/, ""));
  for (const invariant of [...files.filter((name) => name !== "index"), ...OTHER_INVARIANTS])
    count(broken.has(invariant), `${invariant} is broken by a planted bug`);
  if (failed > 0) console.log("a record that no longer holds is made anew by --plant all --record");
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}
