/** Planted bugs are found: the simulation proves that its checks can fail. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PLANTS } from "./plants/all";
import { findPlant } from "./plants/find";
import { planted } from "./plants/loader";
import { parseOptions } from "./options";
import { SimRandom } from "./random";

/** Found in so few seeds that a test can wait for it; docs/simulation.md says how many each takes. */
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
];
/** Another seed chooses others. */
const CHOSEN_BY = Number(process.env["MUSTER_PLANT_SEED"] ?? 20_261_122);

describe("planted bugs", () => {
  test("each has its place in the sources, exactly once", () => {
    for (const plant of PLANTS) expect(planted(plant).size).toBeGreaterThan(0);
    expect(new Set(PLANTS.map(({ name }) => name)).size).toBe(PLANTS.length);
    expect(PLANTS.length).toBeGreaterThanOrEqual(30);
  });

  test("each stands in the table of the documentation, with the invariant that it broke", () => {
    const text = readFileSync(join(__dirname, "..", "..", "docs", "simulation.md"), "utf8");
    for (const { name } of PLANTS)
      expect(text).toMatch(new RegExp(`^\\| ${name} +\\|.*\\| [a-z_, ]+ +\\| +\\d+ \\|$`, "m"));
  });

  test("each invariant was broken by at least one of them", () => {
    const text = readFileSync(join(__dirname, "..", "..", "docs", "simulation.md"), "utf8");
    const table = text.split("\n").filter((line) => line.startsWith("| "));
    const files = readdirSync(join(__dirname, "invariants")).map((file) => file.replace(/\.ts$/, ""));
    const others = [
      "liveness",
      "linearizable",
      "real_time",
      "one_roster",
      "starts",
      "never_fails",
      "no_unexpected_error",
    ];
    for (const invariant of [...files.filter((name) => name !== "index"), ...others]) {
      const broken = table.filter((line) => new RegExp(`[ ,]${invariant}[ ,]`).test(line));
      expect([invariant, broken.length > 0]).toEqual([invariant, true]);
    }
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
