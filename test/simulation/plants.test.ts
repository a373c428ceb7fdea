/** The simulation finds planted bugs, which shows that its checks can fail. */
import { PLANTS } from "./plants/all";
import { findPlant, recordedRuns } from "./plants/find";
import { planted } from "./plants/loader";
import { parseOptions } from "./options";
import { SimRandom } from "./random";

/** Plants that are found within a few seeds, so that a test can wait. `npm run sim -- --plant recorded` runs all. */
const QUICK = [
  "vote-erased-on-step-down",
  "log-not-compared",
  "half-is-a-majority",
  "vote-before-disk",
  "ack-before-disk",
  "own-disk-not-waited-for",
  "conflicting-tail-kept",
  "joint-never-left",
  "double-apply",
  "removed-member-stays-listed",
  "apply-reads-a-clock",
  "acknowledged-when-appended",
  "read-does-not-wait-for-apply",
  "revision-lost-in-snapshot",
  "snapshot-without-requests",
  "repeat-puts-the-member-back",
  "entries-not-synced",
  "term-without-vote",
  "old-member-leaves-first",
  "replaced-twice",
  "half-of-a-step",
  "resumed-where-the-member-is",
];
/** The seed for the choice of plants. */
const CHOSEN_BY = Number(process.env["MUSTER_PLANT_SEED"] ?? 20_261_122);

describe("planted bugs", () => {
  test("each has its place in the sources, exactly once", () => {
    for (const plant of PLANTS) expect(planted(plant).size).toBeGreaterThan(0);
    expect(new Set(PLANTS.map(({ name }) => name)).size).toBe(PLANTS.length);
    expect(PLANTS.length).toBeGreaterThanOrEqual(120);
  });

  test("each is in the record that CI runs again, with a seed that found it", () => {
    const recorded = new Set(recordedRuns().map(({ plant }) => plant));
    const missing = PLANTS.filter(({ name }) => !recorded.has(name));
    expect(missing.map(({ name }) => name)).toEqual([]);
  });

  const random = new SimRandom(CHOSEN_BY);
  const chosen = [...QUICK];
  for (let i = chosen.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [chosen[i], chosen[j]] = [chosen[j] ?? "", chosen[i] ?? ""];
  }
  test.each(chosen.slice(0, 5))(
    "%s is found",
    async (name) => {
      const options = parseOptions(["--seeds", "1..100", "--events", "3000", "--workers", "1"]);
      if (typeof options === "string") throw new Error(options);
      expect(await findPlant(name, options)).not.toEqual([]);
    },
    60_000,
  );
});
