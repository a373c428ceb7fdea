/**
 * What the leader does by itself for learners: against a queue that answers as the test says, and in clusters in memory,
 * whose clock the test moves.
 */
import { done, refusedBy, RETRY, UNKNOWN } from "../../src/base/outcome";
import type { Outcome } from "../../src/base/outcome";
import { Steward } from "../../src/cluster/leader/steward";
import type { CheckView } from "../../src/cluster/leader/change_check";
import type { Accepted, Submission } from "../../src/cluster/leader/submission";
import {
  changeMembersCommand,
  MemberTarget,
  promoteMemberCommand,
  refused,
  updateSettingsCommand,
} from "../../src/roster/index";
import type { MemberRecord, SettingsFields } from "../../src/roster/index";
import { ManualClock } from "../base/support/manual_clock";
import { ListLog } from "../replica/support/list_log";
import { add, apply, by, envelope, publish, remove, request } from "../roster/support/log";
import { DeterministicRandom } from "./support/deterministic_random";
import { FakeView } from "./support/fake_view";
import { ELECTION_TICKS, HEARTBEAT_MS, MemoryCluster } from "./support/memory_cluster";
import { promisesSettle } from "./support/tracked";
import { why } from "./support/test_calls";

/** A leader of three healthy voters with learners that are ready, as far as the test does not say otherwise. */
class StewardBench {
  readonly replica = Object.assign(new FakeView(), { confChangeAllowed: true });
  readonly log = new ListLog();
  readonly submitted: Submission[] = [];
  /** Ids that are not ready. */
  readonly lagging = new Set<bigint>();
  /** Ids that are heard no more. */
  readonly silent = new Set<bigint>();
  deadVoters = 0;
  private settle: (outcome: Outcome<Accepted>) => void = () => undefined;

  constructor() {
    this.replica.ledBy(1n);
    new Steward({
      replica: this.replica,
      random: new DeterministicRandom(1),
      wallNow: () => 7,
      clock: new ManualClock(),
      electionMs: ELECTION_TICKS * HEARTBEAT_MS,
      log: this.log,
      view: () => this.view(),
      submissions: {
        submit: (submission) => {
          this.submitted.push(submission);
          const outcome = new Promise<Outcome<Accepted>>((resolve) => (this.settle = resolve));
          return { outcome, cancel: () => undefined };
        },
      },
    });
  }

  learner(n: number, target: MemberTarget = MemberTarget.UNSPECIFIED, started = true): void {
    apply(this.replica.roster, add(n, { learner: true, target }));
    if (started) apply(this.replica.roster, publish(n));
  }

  private view(): CheckView {
    const members = this.replica.roster.members();
    const health = ({ id, name, started }: MemberRecord) => ({ id, name, started, inContactTicks: 20 });
    return {
      self: 1n,
      clusterId: 1n,
      roster: this.replica.roster,
      voters: members
        .filter(({ learner }) => !learner)
        .map((member, i) => ({
          ...health(member),
          inContactTicks: i === 0 ? Infinity : i <= this.deadVoters || this.silent.has(member.id) ? null : 20,
        })),
      learners: members
        .filter(({ learner }) => learner)
        .map((member) => ({
          ...health(member),
          lagEntries: this.lagging.has(member.id) ? 9999 : 0,
          holdsNewestChange: true,
          hasSpace: true,
        })),
      electionTicks: 10,
      heartbeatMs: 100,
      leadingTicks: 1000,
      remainingTicks: 70,
      waitedTicks: 0,
      urlAnswer: "not asked",
    };
  }

  tick(times = 1): void {
    for (let i = 0; i < times; i++) this.replica.tick();
  }

  async answer(outcome: Outcome<Accepted>): Promise<void> {
    this.settle(outcome);
    await promisesSettle();
  }

  /** Members that this leader hears from at every tick. */
  hears(...ids: readonly bigint[]): void {
    this.replica.listen({
      onTick: () => {
        for (const id of ids)
          if (!this.silent.has(id)) this.replica.contacts.heard(id, this.replica.ticks, 0);
      },
    });
  }

  settings(fields: Partial<SettingsFields>): void {
    const nothing = {
      autoPromote: undefined,
      standbyTakeoverAfterMs: undefined,
      removeUnstartedAfterMs: undefined,
    };
    apply(this.replica.roster, updateSettingsCommand(envelope(), { ...nothing, ...fields }));
  }

  /** What was asked for, by id. */
  get promotions(): (bigint | undefined)[] {
    return this.submitted.map(({ command: { body } }) =>
      body?.$case === "promoteMember" ? body.value.member?.id : undefined,
    );
  }
}

const STALE = refusedBy(refused("REVISION_MISMATCH", "the members are not as they were"));
const NOT_NOW = refusedBy(refused("UNHEALTHY_CLUSTER", "not now"));
const DONE = done({ accepted: true, repeated: false, changed: true, member: null, revision: 9 } as const);

describe("the steward", () => {
  test("promotes one at a time, oldest first, and leaves no request id behind", async () => {
    const bench = new StewardBench();
    bench.learner(9);
    bench.learner(4);
    bench.tick(5);
    expect(bench.promotions).toEqual([9n]);
    expect(bench.submitted[0]).toMatchObject({ validateOnly: false, command: { requestId: "" } });
    for (const submission of bench.submitted) apply(bench.replica.roster, submission.command);
    await bench.answer(DONE);
    bench.tick(1);
    expect(bench.promotions).toEqual([9n, 4n]);
  });

  test("leaves alone: voters, other targets, those that never started or are not ready", () => {
    const bench = new StewardBench();
    bench.learner(4, MemberTarget.LEARNER);
    bench.learner(5, MemberTarget.STANDBY);
    bench.learner(6, MemberTarget.UNSPECIFIED, false);
    bench.learner(7);
    bench.lagging.add(7n);
    bench.tick(100);
    expect(bench.promotions).toEqual([]);
    bench.lagging.clear();
    bench.tick(1);
    expect(bench.promotions).toEqual([7n]);
  });

  test("a learner that is not ready does not hold up the next one", () => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.learner(5);
    bench.lagging.add(4n);
    bench.tick(1);
    expect(bench.promotions).toEqual([5n]);
  });

  test("does nothing on a follower, while a change is pending, and where the strict check would refuse or wait", () => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.replica.ledBy(2n);
    bench.tick(50);
    bench.replica.ledBy(1n);
    bench.replica.confChangeAllowed = false;
    bench.tick(50);
    bench.replica.confChangeAllowed = true;
    bench.deadVoters = 2;
    bench.tick(50);
    expect(bench.promotions).toEqual([]);
    bench.deadVoters = 1;
    bench.tick(1);
    expect(bench.promotions).toEqual([4n]);
  });

  test("waits longer after each refusal, 32 election timeouts at most, and says why", async () => {
    const bench = new StewardBench();
    bench.learner(4);
    const pauses: number[] = [];
    for (let round = 0; round < 7; round++) {
      let ticks = 0;
      while (bench.promotions.length === round) {
        bench.tick();
        ticks++;
      }
      pauses.push(ticks);
      await bench.answer(NOT_NOW);
    }
    expect(pauses).toEqual([1, 20, 40, 80, 160, 320, 320]);
    expect(bench.log.lines[0]?.fields).toMatchObject({ member: 4n, name: "n4", why: "not now" });
  });

  test("what the members overtook is looked at again at once, and not logged", async () => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.tick(1);
    expect(bench.submitted[0]?.seen).toEqual([bench.replica.roster.member(4n)]);
    // One at a time: not before the first has its answer.
    bench.tick(20);
    expect(bench.promotions).toEqual([4n]);
    await bench.answer(STALE);
    bench.tick(1);
    expect(bench.promotions).toEqual([4n, 4n]);
    expect(bench.log.lines).toEqual([]);
  });

  test("a pause of one thing holds up no other", async () => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.learner(5);
    bench.tick(1);
    await bench.answer(NOT_NOW);
    bench.tick(1);
    expect(bench.promotions).toEqual([4n, 5n]);
  });

  test("is the caller of what it does", () => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.tick(1);
    expect(bench.submitted[0]?.command).toMatchObject({ caller: "steward", timeMs: 7, expectedRevision: 0 });
  });

  test("a refusal that comes when it leads no more is no pause for the next time", async () => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.tick(1);
    bench.replica.ledBy(2n);
    await bench.answer(NOT_NOW);
    expect(bench.log.lines).toEqual([]);
    bench.replica.ledBy(1n);
    bench.tick(1);
    expect(bench.promotions).toEqual([4n, 4n]);
  });

  test.each([
    ["leadership changed", RETRY],
    ["the outcome is not known", UNKNOWN],
  ])("%s: nothing is left over, and the next leadership begins at once", async (_, outcome) => {
    const bench = new StewardBench();
    bench.learner(4);
    bench.tick(1);
    bench.replica.ledBy(2n);
    await bench.answer(outcome);
    bench.tick(50);
    expect(bench.promotions).toEqual([4n]);
    bench.replica.ledBy(1n);
    bench.tick(1);
    expect(bench.promotions).toEqual([4n, 4n]);
  });
});

describe("how long a voter is away", () => {
  test("a voter that came back while no standby was to take over is away from when it left again", () => {
    const bench = new StewardBench();
    bench.hears(2n, 3n, 5n);
    bench.learner(5, MemberTarget.STANDBY);
    bench.settings({ standbyTakeoverAfterMs: 5000 });
    bench.silent.add(2n);
    bench.tick(40);
    bench.settings({ standbyTakeoverAfterMs: 0 });
    bench.silent.clear();
    bench.tick(100);
    bench.silent.add(2n);
    bench.tick(11);
    bench.settings({ standbyTakeoverAfterMs: 5000 });
    bench.tick(48);
    expect(bench.submitted).toEqual([]);
    bench.tick(2);
    expect(bench.submitted[0]?.command.body).toMatchObject({
      $case: "changeMembers",
      value: { promote: [{ id: 5n }], standBy: [{ id: 2n }] },
    });
  });

  test("a voter that came back while the change waited keeps its place, also when it has left again", () => {
    const bench = new StewardBench();
    bench.hears(2n, 3n, 5n);
    bench.learner(5, MemberTarget.STANDBY);
    bench.settings({ standbyTakeoverAfterMs: 1000 });
    bench.silent.add(2n);
    bench.tick(40);
    const [submission] = bench.submitted;
    expect(submission?.holds?.()).toBe(true);
    bench.silent.clear();
    bench.tick(2);
    expect(submission?.holds?.()).toBe(false);
    bench.silent.add(2n);
    bench.tick(12);
    expect(submission?.holds?.()).toBe(false);
  });
});

describe("in a cluster", () => {
  const record = (cluster: MemoryCluster, n: number): MemberRecord | undefined =>
    cluster.roster().find(({ id }) => id === BigInt(n));
  const learner = (n: number, target: MemberTarget = MemberTarget.UNSPECIFIED) =>
    add(n, { learner: true, target });
  const promote = (n: number, requestId: string) =>
    promoteMemberCommand(request(requestId), { member: by({ id: BigInt(n) }) });

  async function joined(cluster: MemoryCluster, n: number, target?: MemberTarget): Promise<void> {
    await cluster.write(1, learner(n, target)).settled();
    cluster.join(n);
    await cluster.run(1);
    await cluster.write(1, publish(n)).settled();
  }

  test("a learner that has started becomes a voter by itself, after two election timeouts in contact", async () => {
    const cluster = await new MemoryCluster({ size: 1 }).startLedBy(1);
    await joined(cluster, 2);
    await cluster.run(2 * ELECTION_TICKS - 3);
    expect(record(cluster, 2)?.learner).toBe(true);
    await cluster.run(5);
    expect(record(cluster, 2)).toMatchObject({ learner: false, target: MemberTarget.UNSPECIFIED });
    expect(cluster.leader().log.texts).toContain("info the learner was ready: it is a voter now");
    // It votes: the leader commits nothing without it.
    cluster.network.isolate(2n);
    const { tracked } = cluster.write(1, learner(3));
    await cluster.run(3);
    expect(tracked.state).toBe("open");
  });

  test("one that never starts stays a learner, and costs the quorum nothing", async () => {
    const cluster = await new MemoryCluster({ size: 1 }).startLedBy(1);
    for (let n = 2; n <= 6; n++) await cluster.write(1, learner(n)).settled();
    await cluster.run(10 * ELECTION_TICKS);
    expect(cluster.roster().filter((member) => member.learner)).toHaveLength(5);
    await cluster.write(1, remove({ id: 6n })).settled();
  });

  test("LEARNER and STANDBY stay what they are, until a caller promotes them", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await cluster.write(1, learner(4, MemberTarget.LEARNER)).settled();
    const early = cluster.write(2, promote(4, "early"));
    await cluster.run(1);
    expect(why(early.tracked.error)).toBe("LEARNER_NOT_READY");
    // All or nothing: the refused promotion did not change the target.
    expect(record(cluster, 4)).toMatchObject({ learner: true, target: MemberTarget.LEARNER });
    cluster.join(4);
    await cluster.run(1);
    await cluster.write(1, publish(4)).settled();
    await joined(cluster, 5, MemberTarget.STANDBY);
    await cluster.run(5 * ELECTION_TICKS);
    expect([4, 5].map((n) => record(cluster, n)?.target)).toEqual([
      MemberTarget.LEARNER,
      MemberTarget.STANDBY,
    ]);
    const revision = await cluster.write(2, promote(4, "p1")).settled();
    expect(record(cluster, 4)).toMatchObject({ learner: false, target: MemberTarget.UNSPECIFIED });
    // A repeat, and a promotion of a voter, change nothing.
    expect(await cluster.write(3, promote(4, "p1")).settled()).toBe(revision);
    await cluster.write(1, promote(4, "p2")).settled();
    expect(cluster.leader().rosterMachine.roster.revision).toBe(revision);
  });

  test("the next leader goes on where one that fell away stopped", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await joined(cluster, 4);
    await cluster.run(ELECTION_TICKS);
    expect(record(cluster, 4)?.learner).toBe(true);
    cluster.network.isolate(1n);
    // Nothing that the old leader begins alone counts.
    await cluster.run(8 * ELECTION_TICKS);
    const leader = cluster.leader();
    expect(leader.n).not.toBe(1);
    expect(record(cluster, 4)?.learner).toBe(false);
    cluster.network.heal();
    await cluster.run(3 * ELECTION_TICKS);
    for (const { rosterMachine } of cluster.members.values())
      expect(rosterMachine.roster.hash()).toBe(leader.rosterMachine.roster.hash());
    const promoted = leader.rosterMachine.roster.eventsSince(0)?.filter(({ kind }) => kind === 3);
    expect(promoted).toHaveLength(1);
  });

  test("a change that takes the leader and another voter: a voter that stays leads first, and all is done at once", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await joined(cluster, 4, MemberTarget.LEARNER);
    await joined(cluster, 5, MemberTarget.LEARNER);
    await cluster.run(3 * ELECTION_TICKS);
    const named = (...ids: number[]) => ids.map((n) => by({ id: BigInt(n) }));
    const command = changeMembersCommand(request("c"), {
      promote: named(4, 5),
      demote: named(1),
      remove: named(2),
    });
    const { tracked } = cluster.write(1, command, { timeoutMs: 20_000 });
    await cluster.run(4 * ELECTION_TICKS);
    expect([tracked.state, tracked.error]).toEqual(["done", null]);
    const leader = cluster.leader();
    // Member 2 would have been as far, and leaves too.
    expect(leader.n).toBe(3);
    expect(leader.rosterMachine.roster.voters()).toEqual([3n, 4n, 5n]);
    expect(leader.rosterMachine.roster.revision).toBe(tracked.value);
    expect(cluster.member(2).removed).toHaveLength(1);
    expect(record(cluster, 1)).toMatchObject({ learner: true, target: MemberTarget.LEARNER });
    // It stays a learner, and the new voters carry the cluster without it.
    cluster.network.isolate(1n);
    await cluster.run(3 * ELECTION_TICKS);
    await cluster.write(3, learner(6)).settled();
  });

  test("a promotion waits where only time is missing, also at a leader that has just taken over", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await joined(cluster, 4, MemberTarget.LEARNER);
    await cluster.lead(2);
    const { tracked } = cluster.write(3, promote(4, "p"), { timeoutMs: 20_000 });
    await cluster.run(3);
    expect([tracked.state, tracked.error]).toEqual(["open", null]);
    await cluster.run(2 * ELECTION_TICKS + 2);
    expect([tracked.state, tracked.error]).toEqual(["done", null]);
    expect(record(cluster, 4)?.learner).toBe(false);
  });

  test("a learner that is not ready keeps the whole change from being made", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await cluster.write(1, learner(4)).settled();
    const command = changeMembersCommand(request("c"), {
      promote: [by({ id: 4n })],
      demote: [],
      remove: [by({ id: 3n })],
    });
    const { tracked } = cluster.write(2, command);
    await cluster.run(1);
    expect(why(tracked.error)).toBe("LEARNER_NOT_READY");
    expect(cluster.leader().rosterMachine.roster.voters()).toEqual([1n, 2n, 3n]);
  });

  test("while members run an older version, targets and PromoteMember wait, and learners become voters all the same", async () => {
    const cluster = await new MemoryCluster().startLedBy(1);
    await cluster.write(1, publish(3, 3, undefined, "0.2.9")).settled();
    const target = cluster.write(1, learner(4, MemberTarget.STANDBY));
    const promotion = cluster.write(2, promote(2, "p"));
    await cluster.run(1);
    expect([target, promotion].map(({ tracked }) => why(tracked.error))).toEqual([
      "FEATURE_NOT_READY",
      "FEATURE_NOT_READY",
    ]);
    expect(String(target.tracked.error)).toContain("n3 (0.2.9)");
    await joined(cluster, 4);
    await cluster.run(3 * ELECTION_TICKS);
    expect(record(cluster, 4)?.learner).toBe(false);
    await cluster.write(1, publish(3)).settled();
    await cluster.write(1, learner(5, MemberTarget.STANDBY)).settled();
  });
});
