/** The plan of the random operator: reproducible, within its bounds of damage, and able to reach every kind. */
import { birthOf, FLAGS, nextOperation, spare } from "./operator_plan";
import type { ClusterView, MemberView } from "./operator_plan";

const NOTHING = new Set<string>();

function member(name: string, changes: Partial<MemberView> = {}): MemberView {
  const runs = { listed: true, voter: true, running: true, intact: true, healthy: true };
  return { name, ...runs, leads: false, elsewhere: false, copies: 1, ...changes };
}

const down = (name: string): MemberView => member(name, { running: false, healthy: false });
const view = (...members: MemberView[]): ClusterView => ({ members, removed: [], smallDisks: true });

const HEALTHY = view(member("n1", { leads: true }), member("n2"), member("n3"));
/** Two of three: nobody to spare. */
const BARE = view(member("n1", { leads: true }), member("n2"), down("n3"));

function drawn(of: ClusterView, count: number, without: ReadonlySet<string> = NOTHING) {
  return Array.from({ length: count }, (_, n) => nextOperation(7, n + 1, of, without));
}

it("the same seed, number and view give the same operation", () => {
  expect(drawn(HEALTHY, 50)).toEqual(drawn(HEALTHY, 50));
  expect(nextOperation(1, 1, HEALTHY, NOTHING)).not.toEqual(nextOperation(2, 1, HEALTHY, NOTHING));
});

it("counts the voters to spare beyond a majority of the roster", () => {
  expect([spare(HEALTHY), spare(BARE)]).toEqual([1, 0]);
  expect(spare(view(member("n1")))).toBe(0);
  expect(spare(view(...HEALTHY.members, member("n4"), down("n5")))).toBe(1);
});

it("damages no healthy member when none is to spare", () => {
  const calls = ["updateBad", "remove", "replace", "transfer"];
  const all = drawn(BARE, 2000);
  const kinds = all.map(({ kind }) => kind);
  const hit = all.filter(({ kind, target }) => target !== "" && !calls.includes(kind));
  expect([...new Set(hit.map(({ target }) => target))]).toEqual(["n3"]);
  // Calls are made however harmful they are, and the member that is down can be damaged further.
  for (const kind of [...calls, "start", "rollBack", "wipe", "moveOne"]) expect(kinds).toContain(kind);
});

it("reaches every kind", () => {
  const held = member("n4", { elsewhere: true, healthy: false });
  const rich = { ...view(...HEALTHY.members, member("n5"), held), removed: ["/old"] };
  const kinds = new Set([...drawn(rich, 3000), ...drawn(BARE, 3000)].map(({ kind }) => kind));
  expect([...kinds].sort()).toEqual(
    [
      ...[
        "add",
        "addAlias",
        "addNever",
        "copy",
        "fillDisk",
        "fillLeader",
        "kill",
        "killAll",
        "moveAll",
        "moveOne",
      ],
      ...["remove", "replace", "restoreAll", "rollBack", "start", "startRemoved", "stop", "stopAll"],
      ...["strayRestore", "transfer", "twin", "updateBack", "updateBad", "updateGood", "wipe", "write"],
    ].sort(),
  );
});

it("an operation that is asked for comes more often", () => {
  const often = new Set(["twin"]);
  const twins = Array.from({ length: 500 }, (_, n) => nextOperation(7, n + 1, HEALTHY, NOTHING, often));
  expect(twins.filter(({ kind }) => kind === "twin").length).toBeGreaterThan(100);
});

it("leaves out what it is told to", () => {
  const without = new Set(Object.keys(FLAGS));
  expect(drawn(HEALTHY, 1000, without).filter(({ kind }) => without.has(kind))).toEqual([]);
  const births = Array.from({ length: 100 }, (_, seed) => [birthOf(seed, NOTHING), birthOf(seed, without)]);
  expect(births.some(([birth]) => birth?.wiped)).toBe(true);
  expect(births.some(([, birth]) => birth?.wiped)).toBe(false);
});

it("adds nobody to a roster of five", () => {
  const five = view(...["n1", "n2", "n3", "n4", "n5"].map((name) => member(name)));
  expect(drawn(five, 1000).filter(({ kind }) => kind.startsWith("add"))).toEqual([]);
});
