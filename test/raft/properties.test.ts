/**
 * The safety properties of Raft, and liveness at the end, over random schedules.
 *
 * MUSTER_PROPERTY_SCHEDULES sets how many (default 1,000); MUSTER_PROPERTY_SEED where their seeds start. A failure
 * names its seed; test/raft/support/run_properties.ts replays it.
 */
import { runSchedule } from "./support/schedule";
import type { ScheduleOptions, ScheduleResult } from "./support/schedule";

const SCHEDULES = Number(process.env["MUSTER_PROPERTY_SCHEDULES"] ?? 1000);
const FIRST_SEED = Number(process.env["MUSTER_PROPERTY_SEED"] ?? 1);
const EVENTS = 1000;

function run(options: ScheduleOptions): ScheduleResult {
  try {
    return runSchedule(options);
  } catch (error) {
    throw new Error(
      `seed ${options.seed}; replay: node -r ./scripts/swc-register.js test/raft/support/run_properties.ts ` +
        `--schedules 1 --seed ${options.seed} --events ${EVENTS} --trace`,
      { cause: error },
    );
  }
}

describe("random schedules", () => {
  test(
    `${SCHEDULES} schedules of ${EVENTS} events keep every safety property and end alive`,
    () => {
      const totals = { elections: 0, committed: 0, applied: 0, reads: 0 };
      const refused = new Map<string, number>();
      for (let i = 0; i < SCHEDULES; i++) {
        const result = run({ seed: FIRST_SEED + i, events: EVENTS });
        totals.elections += result.elections;
        totals.committed += result.committed;
        totals.applied += result.applied;
        totals.reads += result.reads;
        for (const [reason, times] of result.refused) refused.set(reason, (refused.get(reason) ?? 0) + times);
      }
      // Schedules do something: leaders change, entries are applied all over, reads are confirmed.
      expect(totals.elections).toBeGreaterThan(SCHEDULES * 2);
      expect(totals.committed).toBeGreaterThan(SCHEDULES * 10);
      expect(totals.applied).toBeGreaterThan(SCHEDULES * 50);
      expect(totals.reads).toBeGreaterThan(SCHEDULES / 2);
      // An honest message is refused only as old news, or because its receiver knows less, or cannot do it now.
      for (const reason of ["stale-term", "not-leader", "unknown-sender", "proposal-dropped"])
        refused.delete(reason);
      expect([...refused]).toEqual([]);
    },
    120_000 + SCHEDULES * 10,
  );

  test("a seed replays its run", () => {
    const events: string[][] = [[], []];
    for (const list of events) runSchedule({ seed: 7, events: 500, trace: (text) => list.push(text) });
    expect(events[0]?.length).toBe(500);
    expect(events[0]).toEqual(events[1]);
    expect(runSchedule({ seed: 7 })).toEqual(runSchedule({ seed: 7 }));
  });

  // Without these the suite could be blind: each defect of the disk must be found by one of the properties.
  test.each([
    ["forget-vote", "election safety", 5000],
    ["ack-before-sync", "leader completeness", 200],
    ["lose-entry", "leader completeness", 200],
  ] as const)("the planted defect %s is found as a breach of %s", (bug, property, schedules) => {
    const found: string[] = [];
    for (let seed = 1; seed <= schedules; seed++) {
      try {
        runSchedule({ seed, bug });
      } catch (error) {
        found.push(error instanceof Error ? error.message : String(error));
      }
      if (found.some((text) => text.startsWith(property))) return;
    }
    throw new Error(`not found in ${schedules} schedules; found: ${found.slice(0, 5).join("; ")}`);
  });
});
