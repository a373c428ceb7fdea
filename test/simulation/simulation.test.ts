/** A few seeds of the simulation: they find no violation, and a repeated run is the same. */
import { coverageTable } from "./coverage";
import { keptSeeds } from "./main";
import { simulate } from "./run";
import type { RunResult } from "./run";

const NOTHING = new Set<never>();

function report({ seed, failure }: RunResult): string {
  if (failure === null) return "clean";
  return [
    `seed ${seed}, event ${failure.event}, ${failure.invariant}: ${failure.message}`,
    ...failure.last,
  ].join("\n");
}

describe("the simulation", () => {
  test("a few seeds find no violation and reach the common states of members", async () => {
    const sum: number[] = [];
    for (let seed = 1; seed <= 25; seed++) {
      const result = await simulate({ seed, events: 2500, without: NOTHING });
      expect(report(result)).toBe("clean");
      expect(result.undecided).toBe(0);
      result.coverage.forEach((count, i) => (sum[i] = (sum[i] ?? 0) + count));
    }
    const table = coverageTable(sum);
    for (const row of [
      "leader elected",
      "power loss",
      "joint configuration",
      "snapshot installed",
      "write answered",
      "learner promoted by the leader",
      "replacement finished by the leader",
      "member replaced in place",
      "settings changed",
      "watch event",
      "watch resumed",
    ])
      expect(table).toMatch(new RegExp(`^${row} +[1-9]`, "m"));
  }, 60_000);

  test("seeds that failed once find no violation any more", async () => {
    for (const { seed, events } of keptSeeds()) {
      expect(report(await simulate({ seed, events, without: NOTHING }))).toBe("clean");
    }
  }, 60_000);

  test("a seed gives the same run again, byte by byte, and another seed a different one", async () => {
    const hashes = new Set<string>();
    for (let seed = 100; seed < 110; seed++) {
      const first = await simulate({ seed, events: 1500, without: NOTHING });
      const again = await simulate({ seed, events: 1500, without: NOTHING });
      expect(again.hash).toBe(first.hash);
      expect(again.events).toBe(first.events);
      hashes.add(first.hash);
    }
    expect(hashes.size).toBe(10);
  }, 60_000);
});
