/** What others say of this member: one peer's word ends nobody, a majority's or its own log's does. */
import { NO_NODE } from "../../src/raft/index";
import { Verdicts } from "../../src/cluster/verdicts";
import type { VerdictReason } from "../../src/cluster/verdicts";
import type { ReplicaView } from "../../src/replica/view";
import { instanceId } from "../replica/support/first_log";
import { ListLog } from "../replica/support/list_log";
import { add, apply, remove } from "../roster/support/log";
import { Roster } from "../../src/roster/index";
import { MemoryCluster } from "./support/memory_cluster";

const ELECTION_TICKS = 10;

/** Member 1 of a roster with so many voters (and learner 9), without a leader. */
class Judged {
  readonly log = new ListLog();
  readonly removed: string[] = [];
  readonly ended: string[] = [];
  readonly view = { id: 1n, ticks: 0, electionTicks: ELECTION_TICKS, leader: NO_NODE, mayBeRemoved: false };
  readonly verdicts: Verdicts;

  constructor(readonly roster: Roster) {
    const view = Object.assign(this.view, { roster });
    this.verdicts = new Verdicts({
      replica: view as unknown as ReplicaView,
      instanceId: instanceId(1),
      log: this.log,
      onRemoved: (by, text) => this.removed.push(`${by.join()}: ${text}`),
      onEnd: (reason, text) => this.ended.push(`${reason}: ${text}`),
    });
  }

  static of(voters: number): Judged {
    const roster = new Roster({ clusterId: 1n });
    for (let n = 1; n <= voters; n++) apply(roster, add(n, { learner: false }));
    apply(roster, add(9, { learner: true }));
    return new Judged(roster);
  }

  say(by: number, reason: VerdictReason = "MEMBER_REMOVED"): this {
    this.verdicts.refused(BigInt(by), reason, `${by} says so`);
    return this;
  }

  pass(ticks: number): this {
    for (let i = 0; i < ticks; i++) {
      this.view.ticks++;
      this.verdicts.tick();
    }
    return this;
  }

  get over(): boolean {
    return this.removed.length + this.ended.length > 0;
  }
}

describe.each<VerdictReason>(["MEMBER_REMOVED", "MEMBER_WIPED", "MEMBER_ROLLED_BACK"])("%s", (reason) => {
  test.each([
    [3, 2],
    [4, 3],
    [5, 3],
    [7, 4],
  ])("of %i voters %i have to say so", (voters, needed) => {
    const judged = Judged.of(voters);
    for (let n = 2; n <= needed; n++) judged.say(n, reason).say(n, reason);
    expect(judged.over).toBe(false);
    judged.say(needed + 1, reason);
    expect([judged.removed.length, judged.ended.length]).toEqual(
      reason === "MEMBER_REMOVED" ? [1, 0] : [0, 1],
    );
    const [line] = [...judged.removed, ...judged.ended];
    expect(line).toContain("n2 (2) says: 2 says so; n3 (3) says: 3 says so");
    expect(line).toContain(reason === "MEMBER_REMOVED" ? "was removed" : `${reason}: `);
  });

  test.each([1, 2])("with %i voters the other's word is never enough", (voters) => {
    const judged = Judged.of(voters).say(2, reason).say(3, reason).say(9, reason).pass(100).say(2, reason);
    expect(judged.over).toBe(false);
  });

  test("learners, strangers and this member itself count for nothing", () => {
    const judged = Judged.of(3).say(2, reason).say(9, reason).say(8, reason).say(1, reason).say(0, reason);
    expect(judged.over).toBe(false);
    expect(judged.log.texts).toEqual([
      expect.stringMatching(
        /^warn member n2 \(2\) refuses this one: 2 says so\. Either it is right and this member /,
      ),
      expect.stringContaining("warn member n9 (9) refuses this one"),
      expect.stringContaining("warn a peer that this member's roster does not list says: 8 says so"),
    ]);
    expect(judged.log.texts[0]).toContain("or it has an older or damaged copy");
  });
});

test("two that say different things end nothing; once they agree, it ends as what they say", () => {
  const judged = Judged.of(3).say(2, "MEMBER_REMOVED").say(3, "MEMBER_ROLLED_BACK");
  expect([judged.removed, judged.ended]).toEqual([[], []]);
  judged.say(2, "MEMBER_ROLLED_BACK");
  expect([judged.removed, judged.ended]).toEqual([
    [],
    [expect.stringContaining("MEMBER_ROLLED_BACK: 2 of 2")],
  ]);
});

test("a peer that accepts this member has taken its word back, and one that is silent is forgotten", () => {
  const judged = Judged.of(3).say(2);
  judged.verdicts.accepted(2n);
  expect(judged.say(3).over).toBe(false);
  judged.pass(30 * ELECTION_TICKS + 1);
  expect(judged.say(2).over).toBe(false);
  expect(judged.pass(5).say(3).over).toBe(true);
  expect(judged.log.texts.filter((text) => text.includes("accepts it again"))).toHaveLength(1);
});

test("voters that have gone make no majority of what was said before", () => {
  const judged = Judged.of(5).say(2).say(3);
  for (const id of [4n, 5n]) apply(judged.roster, remove({ id }));
  judged.verdicts.applied();
  judged.pass(1).say(2);
  expect(judged.over).toBe(false);
  judged.say(3);
  expect(judged.removed).toHaveLength(1);
});

test("the same word is one line, and one again after it was taken back", () => {
  const judged = Judged.of(5);
  for (let i = 0; i < 20; i++) judged.say(2).pass(3);
  expect(judged.log.lines).toHaveLength(1);
  judged.verdicts.accepted(2n);
  judged.say(2);
  expect(judged.log.lines).toHaveLength(3);
});

test("with three voters an uncommitted removal in this log does not make one word enough", () => {
  const judged = Judged.of(3);
  judged.view.mayBeRemoved = true;
  expect(judged.say(2).pass(5).over).toBe(false);
});

test("the other one of two voters is believed when this log holds the removal", () => {
  const judged = Judged.of(2);
  judged.view.mayBeRemoved = true;
  expect(judged.say(2, "MEMBER_WIPED").over).toBe(false);
  expect(judged.say(2).removed).toEqual([expect.stringContaining("its own log holds the removal")]);
});

test("with four voters two others are enough when this log holds the removal", () => {
  expect(Judged.of(4).say(2).say(3).over).toBe(false);
  const judged = Judged.of(4);
  judged.view.mayBeRemoved = true;
  expect(judged.say(2).pass(5).over).toBe(false);
  expect(judged.say(3).removed).toEqual([expect.stringContaining("2 of 3 other voters refuse it")]);
});

describe("a removed member whose other voters are gone", () => {
  const HOUR = 3600 * ELECTION_TICKS;
  const wait = (judged: Judged, ticks: number, each: () => void = () => undefined): void => {
    for (let i = 0; i < ticks; i += ELECTION_TICKS) {
      judged.say(2).pass(ELECTION_TICKS);
      each();
    }
  };

  test("ends when for very long there was no leader and nobody accepted it; its directory is not marked", () => {
    const judged = Judged.of(3);
    wait(judged, HOUR - ELECTION_TICKS);
    expect(judged.over).toBe(false);
    wait(judged, 2 * ELECTION_TICKS);
    expect([judged.removed, judged.ended]).toEqual([[], [expect.stringContaining("MEMBER_REMOVED: 1 of 2")]]);
  });

  test.each<[string, (judged: Judged) => void]>([
    ["a leader is there now and then", ({ view }) => (view.leader = view.ticks % 1000 === 0 ? 3n : NO_NODE)],
    ["another voter accepts it", ({ verdicts }) => verdicts.accepted(3n)],
  ])("goes on while %s", (_what, act) => {
    const judged = Judged.of(3);
    wait(judged, HOUR + 10 * ELECTION_TICKS, () => act(judged));
    expect(judged.over).toBe(false);
    if (judged.view.leader === NO_NODE) {
      judged.verdicts.unreachable(3n);
      wait(judged, HOUR + 2 * ELECTION_TICKS);
      expect(judged.over).toBe(true);
    }
  });

  test("a verdict as wiped never ends it so: a stale member may say that of a healthy one", () => {
    const judged = Judged.of(3);
    for (let i = 0; i < 3700; i++) judged.say(2, "MEMBER_WIPED").pass(ELECTION_TICKS);
    expect(judged.over).toBe(false);
  });
});

test("a joiner without a roster believes a majority of the members that it dialled, after a while", () => {
  const judged = new Judged(new Roster({ clusterId: 1n })).say(2).say(3);
  judged.verdicts.unreachable(4n);
  expect(judged.over).toBe(false);
  judged.pass(2 * ELECTION_TICKS);
  expect(judged.removed).toHaveLength(1);
  const lone = new Judged(new Roster({ clusterId: 1n })).say(2);
  lone.verdicts.unreachable(4n);
  expect(lone.pass(3 * ELECTION_TICKS).over).toBe(false);
});

test("one stale member that says MEMBER_WIPED ends neither of two that serve", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  for (let i = 0; i < 20; i++) {
    for (const n of [1, 2]) cluster.member(n).memoryTransport.events.onRefused(3n, "MEMBER_WIPED", "wiped");
    await cluster.run(ELECTION_TICKS);
  }
  for (const n of [1, 2]) expect([cluster.member(n).ended, cluster.member(n).fatal]).toEqual([[], []]);
  expect(cluster.leader().n).toBeLessThan(3);
});

test("a member that was removed while it was away ends by the word of both others", async () => {
  const cluster = await new MemoryCluster().startLedBy(1);
  cluster.network.isolate(3n);
  await cluster.write(1, remove({ id: 3n })).settled();
  cluster.network.heal();
  await cluster.run(5 * ELECTION_TICKS);
  const { removed, dismissed } = cluster.member(3);
  expect(removed).toEqual([expect.stringContaining("2 of 2 other voters refuse it")]);
  expect(dismissed[0]).toBe(0);
});

test("of two voters the removed one ends by the other's word, since it acknowledged the removal itself", async () => {
  const cluster = await new MemoryCluster({ size: 2 }).startLedBy(1);
  // The last that member 2 gets is the removal, not its commit.
  const { replica } = cluster.member(2);
  cluster.network.passes = ({ to, commit, index }) => to !== 2n || commit <= replica.committed || index === 0;
  await cluster.write(1, remove({ id: 2n })).settled();
  expect(replica.mayBeRemoved).toBe(true);
  cluster.network.heal();
  cluster.network.passes = ({ to }) => to !== 2n;
  await cluster.run(8 * ELECTION_TICKS);
  expect(cluster.member(2).removed).toEqual([expect.stringContaining("its own log holds the removal")]);
});
