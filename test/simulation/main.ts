/**
 * The simulation command: runs seeds on every processor core, prints the speed and the coverage, and for each failure the
 * seed, the event, the invariants, the last events and the command that repeats it.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { COVERAGE_ROWS, coverageTable } from "./coverage";
import { parseOptions, USAGE } from "./options";
import type { SimOptions } from "./options";
import { findPlants } from "./plants/find";
import { runSeeds } from "./pool";
import { simulate } from "./run";
import { shrink } from "./shrink";
import type { JobResult } from "./worker";

/** File with the seeds that failed once and the number of events that each needs. They run before all others. */
export const KEPT_SEEDS = join(__dirname, "seeds.txt");
const PROGRESS_MS = 10_000;

interface Sum {
  seeds: number;
  events: number;
  calls: number;
  undecided: number;
  different: number;
  cpuMs: number;
  failed: JobResult[];
  coverage: number[];
}

/** Reads lines of the form `seed events`; `#` begins a comment. */
export function keptSeeds(): { readonly seed: number; readonly events: number }[] {
  const lines = readFileSync(KEPT_SEEDS, "utf8").split("\n");
  return lines.flatMap((line) => {
    const match = /^(\d+) (\d+)/.exec(line);
    return match === null ? [] : [{ seed: Number(match[1]), events: Number(match[2]) }];
  });
}

/** @returns the exit code: 0 when no seed failed, 1 when one did, 2 for wrong usage */
export async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (typeof options === "string") {
    console.error(`${options}\n${USAGE}`);
    return 2;
  }
  if (options.plant !== null) return findPlants(options);
  if (options.trace) return traceOne(options);
  if (options.shrink) return shrink(options);
  return runAll(options);
}

async function runAll(options: SimOptions): Promise<number> {
  const started = Date.now();
  const sum: Sum = {
    seeds: 0,
    events: 0,
    calls: 0,
    undecided: 0,
    different: 0,
    cpuMs: 0,
    failed: [],
    coverage: COVERAGE_ROWS.map(() => 0),
  };
  let reported = started;
  const done = (result: JobResult): boolean => {
    add(sum, result);
    if (result.result.failure !== null) console.log(describeFailure(result, options));
    if (!result.isSame) console.log(`seed ${result.result.seed}: two runs differ`);
    if (Date.now() - reported > PROGRESS_MS) {
      reported = Date.now();
      console.log(`... ${speed(sum, started)}`);
    }
    return sum.failed.length < 5;
  };
  const { events, without, twice, firstSeed, lastSeed } = options;
  for (const kept of keptSeeds()) {
    const seeds = { first: kept.seed, last: kept.seed };
    await runSeeds(
      seeds,
      { events: kept.events, without: [], twice: false },
      { ...options, workers: 1 },
      done,
    );
  }
  await runSeeds({ first: firstSeed, last: lastSeed }, { events, without, twice }, options, done);
  console.log(`\n${coverageTable(sum.coverage)}\n`);
  const line = summary(sum, started, options);
  console.log(line);
  if (options.append !== null) appendFileSync(options.append, `${line}\n`);
  const bad = sum.failed.length + sum.different + sum.undecided;
  console.log(`${sum.seeds - sum.failed.length} passed, ${sum.failed.length} failed`);
  return bad > 0 ? 1 : 0;
}

function add(sum: Sum, job: JobResult): void {
  const { result, isSame, cpuMs } = job;
  sum.seeds++;
  sum.events += result.events;
  sum.calls += result.calls;
  sum.undecided += result.undecided;
  sum.cpuMs += cpuMs;
  if (!isSame) sum.different++;
  if (result.failure !== null) sum.failed.push(job);
  result.coverage.forEach((count, i) => {
    sum.coverage[i] = (sum.coverage[i] ?? 0) + count;
  });
}

function speed(sum: Sum, started: number): string {
  const seconds = (Date.now() - started) / 1000;
  const perCore = Math.round((sum.events / Math.max(1, sum.cpuMs)) * 1000);
  const perSecond = Math.round(sum.events / seconds);
  return (
    `${sum.seeds} seeds, ${sum.events} events in ${seconds.toFixed(0)} s: ${(sum.seeds / seconds).toFixed(1)} seeds/s, ` +
    `${perSecond} events/s, ${perCore} events/s on one core`
  );
}

function summary(sum: Sum, started: number, { firstSeed, lastSeed, events, twice }: SimOptions): string {
  const compared = twice ? `, run twice: ${sum.different} differ` : "";
  return (
    `seeds ${firstSeed}..${lastSeed}, ${events} events each: ${speed(sum, started)}; ${sum.calls} calls, ` +
    `${sum.undecided} undecided${compared}; failed: ${sum.failed.map(({ result }) => result.seed).join(" ") || "none"}`
  );
}

function describeFailure({ result }: JobResult, { events, without }: SimOptions): string {
  const { failure, seed } = result;
  if (failure === null) return "";
  const left = without.length > 0 ? ` --without ${without.join(",")}` : "";
  return [
    `\nFAILED seed ${seed}, event ${failure.event}, invariant ${failure.invariant}: ${failure.message}`,
    "last events:",
    ...failure.last,
    failure.invariant.startsWith("n") ? failure.stack : "",
    `replay: npm run sim -- --seeds ${seed}..${seed} --events ${events}${left} --trace`,
  ].join("\n");
}

/** Runs one seed in this process and prints every event. */
async function traceOne(options: SimOptions): Promise<number> {
  const { firstSeed: seed, events } = options;
  const without = new Set(options.without);
  const result = await simulate({ seed, events, without, print: (line) => console.log(line) });
  const { failure, hash } = result;
  if (failure !== null) console.log(`${failure.invariant}: ${failure.message}\n${failure.stack}`);
  console.log(
    `seed ${seed}: ${result.events} events, hash ${hash}, ${failure === null ? "clean" : "failed"}`,
  );
  return failure === null ? 0 : 1;
}
