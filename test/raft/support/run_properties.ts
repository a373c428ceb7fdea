/**
 * Runs many random schedules outside the test runner:
 *
 *     node -r ./scripts/swc-register.js test/raft/support/run_properties.ts --schedules N [--seed S] [--events N]
 *         [--plant forget-vote|ack-before-sync|lose-entry] [--trace]
 *
 * Schedule i uses seed S + i. A failure prints its seed; `--schedules 1 --seed THAT --trace` replays it event by event.
 * The last line is `N passed, N failed`.
 */
import { parseArgs } from "node:util";
import type { PlantedBug } from "./member";
import { runSchedule } from "./schedule";

const BUGS: readonly PlantedBug[] = ["forget-vote", "ack-before-sync", "lose-entry"];
const SHOWN_FAILURES = 10;

function count(text: string | undefined, name: string, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name}: ${text} is no whole number`);
  return value;
}

function main(): number {
  const { values } = parseArgs({
    options: {
      schedules: { type: "string" },
      seed: { type: "string" },
      events: { type: "string" },
      plant: { type: "string" },
      trace: { type: "boolean" },
    },
  });
  const schedules = count(values.schedules, "schedules", 1000);
  const seed = count(values.seed, "seed", 1);
  const events = count(values.events, "events", 1000);
  const bug = BUGS.find((name) => name === values.plant);
  if (values.plant !== undefined && bug === undefined) throw new Error(`--plant: one of ${BUGS.join(", ")}`);
  const totals = { elections: 0, committed: 0, applied: 0, reads: 0 };
  const refused = new Map<string, number>();
  let failed = 0;
  const start = process.hrtime.bigint();
  for (let i = 0; i < schedules; i++) {
    try {
      const result = runSchedule({
        seed: seed + i,
        events,
        ...(bug === undefined ? {} : { bug }),
        ...(values.trace === true ? { trace: (text: string) => process.stdout.write(`${text}\n`) } : {}),
      });
      for (const key of ["elections", "committed", "applied", "reads"] as const) totals[key] += result[key];
      for (const [reason, times] of result.refused) refused.set(reason, (refused.get(reason) ?? 0) + times);
    } catch (error) {
      failed++;
      const text =
        error instanceof Error ? (values.trace === true ? error.stack : error.message) : String(error);
      if (failed <= SHOWN_FAILURES) process.stdout.write(`seed ${seed + i}: ${text ?? ""}\n`);
    }
  }
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const { elections, committed, applied, reads } = totals;
  process.stdout.write(
    `${schedules} schedules of ${events} events in ${seconds.toFixed(1)} s: ${elections} elections, ` +
      `${committed} entries committed, ${applied} applied, ${reads} reads confirmed\n`,
  );
  for (const [reason, times] of refused) process.stdout.write(`refused ${reason}: ${times}\n`);
  process.stdout.write(`${schedules - failed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = main();
