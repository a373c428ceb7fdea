/** Planted bugs are found: the simulation proves that its checks can fail. */
import { PLANTS } from "./plants/all";
import { findPlant } from "./plants/find";
import { planted } from "./plants/loader";
import { parseOptions } from "./options";
import { SimRandom } from "./random";

/** Found in so few seeds that a test can wait for it; docs/simulation.md has the others. */
const QUICK = [
  "vote-erased-on-step-down",
  "log-not-compared",
  "half-is-a-majority",
  "ack-before-disk",
  "own-disk-not-waited-for",
  "conflicting-tail-kept",
  "joint-never-left",
  "double-apply",
  "removed-member-stays-listed",
  "apply-reads-a-clock",
  "acknowledged-when-appended",
  "read-without-quorum",
];
const CHOSEN_BY = 20_261_122;

describe("planted bugs", () => {
  test("each has its place in the sources, exactly once", () => {
    for (const plant of PLANTS) expect(planted(plant).size).toBeGreaterThan(0);
    expect(new Set(PLANTS.map(({ name }) => name)).size).toBe(PLANTS.length);
    expect(PLANTS.length).toBeGreaterThanOrEqual(30);
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
      const found = await findPlant(name, options);
      expect(found.seeds).not.toBeNull();
    },
    60_000,
  );
});
