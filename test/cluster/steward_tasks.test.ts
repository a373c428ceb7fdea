/** What the leader would do by itself, as a table: which tasks, in which order, from when on, and with what command. */
import { stewardTasks } from "../../src/cluster/leader/steward_tasks";
import type { Observed, StewardTask } from "../../src/cluster/leader/steward_tasks";
import type { CheckView } from "../../src/cluster/leader/change_check";
import {
  changeMembersCommand,
  MemberTarget,
  promoteMemberCommand,
  replaceMemberCommand,
  updateSettingsCommand,
} from "../../src/roster/index";
import type { Roster, RosterCommand, SettingsFields } from "../../src/roster/index";
import { accepted, add, apply, by, envelope, newMember, publish, rosterOf } from "../roster/support/log";

const { UNSPECIFIED, LEARNER, STANDBY } = MemberTarget;
const ELECTION_TICKS = 10;
const HEARTBEAT_MS = 100;
const NONE = { autoPromote: undefined, standbyTakeoverAfterMs: undefined, removeUnstartedAfterMs: undefined };

/** A leader n1 of healthy voters n1 to n3, with what the test adds; all that started is ready unless it says otherwise. */
class World {
  readonly roster: Roster = rosterOf(3);
  /** By member: ticks in contact without a break. */
  readonly contact = new Map<number, number | null>();
  readonly lag = new Map<number, number>();
  readonly away = new Map<number, number>();
  readonly unstarted = new Map<number, number>();

  constructor(settings: Partial<SettingsFields> = {}) {
    for (const n of [1, 2, 3]) this.apply(publish(n));
    this.set(settings);
  }

  apply(command: RosterCommand): this {
    accepted(apply(this.roster, command).decision);
    return this;
  }

  set(settings: Partial<SettingsFields>): this {
    return this.apply(updateSettingsCommand(envelope(), { ...NONE, ...settings }));
  }

  learner(n: number, target: MemberTarget = UNSPECIFIED, started = true): this {
    this.apply(add(n, { learner: true, target }));
    return started ? this.apply(publish(n)) : this;
  }

  /** Member n joins, to replace the member with this name, side by side. */
  beside(name: string, n: number): this {
    const replacement = newMember(n, { learner: true });
    const member = by({ name });
    this.apply(replaceMemberCommand(envelope(), { member, peerUrl: "", replacement, sideBySide: true }));
    return this.apply(publish(n));
  }

  tasks(): StewardTask[] {
    const health = this.roster.members().map(({ id, name, started, learner }) => {
      const given = this.contact.get(Number(id));
      const inContactTicks = id === 1n ? Infinity : given === undefined ? 20 : given;
      const lagEntries = this.lag.get(Number(id)) ?? 0;
      return {
        id,
        name,
        started,
        learner,
        inContactTicks,
        lagEntries,
        holdsNewestChange: true,
        hasSpace: true,
      };
    });
    const view: Pick<CheckView, "roster" | "voters" | "learners" | "electionTicks" | "heartbeatMs" | "self"> =
      {
        roster: this.roster,
        voters: health.filter(({ learner }) => !learner),
        learners: health.filter(({ learner }) => learner),
        electionTicks: ELECTION_TICKS,
        heartbeatMs: HEARTBEAT_MS,
        self: 1n,
      };
    const observed: Observed = {
      outOfContactTicks: (id) => this.away.get(Number(id)) ?? 0,
      unstartedTicks: (id) => this.unstarted.get(Number(id)) ?? 0,
    };
    return [...stewardTasks(view, observed)];
  }

  /** "kind name: what the command does". */
  get shown(): string[] {
    return this.tasks().map(
      (task) => `${task.kind} ${task.member.name}: ${described(task.command(envelope()))}`,
    );
  }
}

function described({ body, expectedRevision }: RosterCommand): string {
  const fence = expectedRevision === 0 ? "" : ` at ${String(expectedRevision)}`;
  const ids = (list: readonly { readonly id: bigint }[]): string =>
    list.map(({ id }) => String(id)).join(",");
  switch (body?.$case) {
    case "promoteMember":
      return `promote ${ids([body.value.member ?? { id: 0n }])}${fence}`;
    case "removeMember":
      return `remove ${ids([body.value.member ?? { id: 0n }])}${fence}`;
    case "changeMembers": {
      const { promote, demote, standBy, remove } = body.value;
      const lists = Object.entries({ promote, demote, standBy, remove });
      return (
        lists.flatMap(([name, list]) => (list.length === 0 ? [] : [`${name} ${ids(list)}`])).join(" ") + fence
      );
    }
    default:
      return body?.$case ?? "nothing";
  }
}

test("there is nothing to do for voters alone, whatever the settings", () => {
  const world = new World({ standbyTakeoverAfterMs: 1000, removeUnstartedAfterMs: 1000 });
  world.away.set(3, 1e9);
  expect(world.shown).toEqual([]);
});

test("the order: replacements, promotions, takeovers, removals; of each kind the member that came first", () => {
  const world = new World({ standbyTakeoverAfterMs: 1000, removeUnstartedAfterMs: 1000 });
  world
    .learner(9, UNSPECIFIED, false)
    .learner(8, STANDBY)
    .learner(7)
    .learner(6)
    .beside("n2", 12)
    .beside("n3", 11);
  world.away.set(3, 10);
  world.unstarted.set(9, 10);
  const { revision } = world.roster;
  expect(world.shown).toEqual([
    "replacement n12: promote 12 remove 2",
    "replacement n11: promote 11 remove 3",
    "promotion n7: promote 7",
    "promotion n6: promote 6",
    "takeover n3: promote 8 standBy 3",
    `removal n9: remove 9 at ${String(revision)}`,
  ]);
  expect(world.tasks().map(({ seen }) => seen.map(({ name }) => name))).toEqual([
    ["n12", "n2"],
    ["n11", "n3"],
    ["n7"],
    ["n6"],
    ["n8", "n3"],
    ["n9"],
  ]);
  for (const { seen } of world.tasks())
    for (const member of seen) expect(world.roster.member(member.id)).toBe(member);
});

test("what the settings ask for is refused under others; while a member is older, it can't be said", () => {
  const world = new World({ standbyTakeoverAfterMs: 1000 }).learner(8, STANDBY).learner(7).beside("n2", 12);
  world.away.set(3, 10);
  const { updateRevision } = world.roster.settings;
  const fences = (): unknown[] =>
    world.tasks().map(({ kind, command }) => [kind, command(envelope()).expectedSettings?.revision]);
  expect(fences()).toEqual([
    ["replacement", undefined],
    ["promotion", updateRevision],
    ["takeover", updateRevision],
  ]);
  world.apply(publish(2, 2, undefined, "0.2.9"));
  expect(fences()).toEqual([
    ["replacement", undefined],
    ["promotion", undefined],
    ["takeover", undefined],
  ]);
});

test("no task, carried out alone, lowers the number of voters", () => {
  const prepared = (): World => {
    const world = new World({ standbyTakeoverAfterMs: 1000, removeUnstartedAfterMs: 1000 });
    world.learner(9, UNSPECIFIED, false).learner(8, STANDBY).learner(7).beside("n2", 12).beside("n8", 13);
    world.away.set(3, 10);
    world.unstarted.set(9, 10);
    return world;
  };
  const kinds = prepared()
    .tasks()
    .map(({ kind }) => kind);
  expect(kinds).toEqual(["replacement", "replacement", "promotion", "takeover", "removal"]);
  for (const i of kinds.keys()) {
    const world = prepared();
    const task = world.tasks()[i];
    if (task === undefined) throw new Error("no such task");
    world.apply(task.command(envelope()));
    expect(world.roster.voters().length).toBeGreaterThanOrEqual(3);
  }
});

describe("a replacement", () => {
  test.each<[string, string, (world: World) => unknown, string[]]>([
    ["of a voter", "n2", () => undefined, ["replacement n9: promote 9 remove 2"]],
    ["of the leader", "n1", () => undefined, ["replacement n9: promote 9 remove 1"]],
    ["of a read replica", "n7", () => undefined, ["replacement n9: remove 7"]],
    ["of a standby", "n8", () => undefined, ["replacement n9: remove 8"]],
    [
      "without auto_promote",
      "n2",
      (world) => world.set({ autoPromote: false }),
      ["replacement n9: promote 9 remove 2"],
    ],
    ["by one that is out of contact", "n2", (world) => world.contact.set(9, null), []],
    ["by one that has just come", "n2", (world) => world.contact.set(9, 19), []],
    ["by one that lags", "n2", (world) => world.lag.set(9, 251), []],
    [
      "by one that a caller promoted",
      "n2",
      (world) => world.apply(promoteMemberCommand(envelope(), { member: by({ id: 9n }) })),
      ["replacement n9: remove 2"],
    ],
    [
      "by one that a caller promoted, and that is away",
      "n2",
      (world) => {
        world.apply(promoteMemberCommand(envelope(), { member: by({ id: 9n }) }));
        world.contact.set(9, null);
      },
      [],
    ],
    [
      "of one that is away",
      "n2",
      (world) => world.contact.set(2, null),
      ["replacement n9: promote 9 remove 2"],
    ],
  ])("%s", (_, old, prepare, tasks) => {
    const world = new World().learner(7, LEARNER).learner(8, STANDBY).beside(old, 9);
    prepare(world);
    expect(world.shown).toEqual(tasks);
  });

  const change = (lists: Partial<Record<"promote" | "demote" | "standBy", number>>): RosterCommand => {
    const named = (n?: number) => (n === undefined ? [] : [by({ id: BigInt(n) })]);
    return changeMembersCommand(envelope(), {
      promote: named(lists.promote),
      demote: named(lists.demote),
      standBy: named(lists.standBy),
      remove: [],
    });
  };

  test.each<[string, string, RosterCommand, string, Partial<Record<string, unknown>>]>([
    ["a voter that was demoted", "n2", change({ demote: 2 }), "remove 2", { learner: true, target: LEARNER }],
    [
      "a voter whose place a standby took",
      "n2",
      change({ promote: 8, standBy: 2 }),
      "remove 2",
      { learner: true, target: STANDBY },
    ],
    [
      "a standby that took a voter's place",
      "n8",
      change({ promote: 8, standBy: 2 }),
      "promote 9 remove 8",
      { learner: false },
    ],
  ])("becomes what the old one is by then: %s", (_, old, since, command, becomes) => {
    const world = new World().learner(7, LEARNER).learner(8, STANDBY).beside(old, 9).apply(since);
    expect(world.shown[0]).toBe(`replacement n9: ${command}`);
    const before = world.roster.voters().length;
    const [task] = world.tasks();
    if (task === undefined) throw new Error("no task");
    world.apply(task.command(envelope()));
    expect(world.roster.member(9n)).toMatchObject({ ...becomes, replaces: 0n });
    expect(world.roster.voters()).toHaveLength(before);
    expect(world.shown).toEqual([]);
  });
});

describe("a promotion", () => {
  test("of those only that are to become voters, are ready, and replace no one", () => {
    const world = new World()
      .learner(4, LEARNER)
      .learner(5, STANDBY)
      .learner(6, UNSPECIFIED, false)
      .learner(7);
    world.learner(8).learner(9);
    world.contact.set(8, 19);
    world.lag.set(9, 251);
    expect(world.shown).toEqual(["promotion n7: promote 7"]);
    expect(world.set({ autoPromote: false }).shown).toEqual([]);
  });
});

describe("a takeover", () => {
  const waiting = (): World =>
    new World({ standbyTakeoverAfterMs: 3050 }).learner(7, STANDBY).learner(8, STANDBY);

  test.each([
    [30, []],
    [31, ["takeover n3: promote 7 standBy 3"]],
    [9999, ["takeover n3: promote 7 standBy 3"]],
  ])("3050 ms are 31 ticks of 100 ms: after %d", (ticks, tasks) => {
    const world = waiting();
    world.away.set(3, ticks);
    expect(world.shown).toEqual(tasks);
  });

  test("by the standby that is ready and has most of the log; by none when none is ready", () => {
    const world = waiting();
    world.away.set(3, 31);
    world.lag.set(7, 2).set(8, 1);
    expect(world.shown).toEqual(["takeover n3: promote 8 standBy 3"]);
    world.contact.set(8, 5);
    expect(world.shown).toEqual(["takeover n3: promote 7 standBy 3"]);
    world.lag.set(7, 9999);
    expect(world.shown).toEqual([]);
  });

  test("never of the leader, nor of a learner; without the setting not at all", () => {
    const world = waiting().learner(9, LEARNER);
    world.away.set(1, 99).set(9, 99);
    expect(world.shown).toEqual([]);
    world.away.set(2, 99);
    expect(world.shown).toHaveLength(1);
    expect(world.set({ standbyTakeoverAfterMs: 0 }).shown).toEqual([]);
  });

  test("says in the history for how long the voter was away", () => {
    const world = waiting();
    world.away.set(3, 47);
    const [task] = world.tasks();
    const { note, caller } = task?.command(envelope({ caller: "steward" })) ?? {};
    expect([note, caller]).toEqual(["n3 was out of contact for 4 s", "steward"]);
    expect(task?.done).toBe(`${String(note)}: n7 votes in its place, and it is a standby now`);
  });

  test("exchanges the roles, and the voter may take over in turn", () => {
    const world = waiting();
    world.away.set(3, 31);
    const [task] = world.tasks();
    if (task === undefined) throw new Error("no task");
    world.apply(task.command(envelope()));
    expect(world.roster.voters()).toEqual([1n, 2n, 7n]);
    expect(world.roster.member(3n)).toMatchObject({ learner: true, target: STANDBY });
    world.away.clear();
    world.away.set(7, 31);
    world.contact.set(8, null);
    expect(world.shown).toEqual(["takeover n7: promote 3 standBy 7"]);
  });
});

describe("a removal", () => {
  test("of learners that never started, for as long as the setting says, whatever their target", () => {
    const world = new World({ removeUnstartedAfterMs: 2000 });
    world
      .learner(6, STANDBY, false)
      .learner(5, UNSPECIFIED, false)
      .learner(7, LEARNER)
      .learner(8, LEARNER, false);
    world.unstarted.set(5, 20).set(6, 20).set(7, 99).set(8, 19);
    const fence = ` at ${String(world.roster.revision)}`;
    expect(world.shown).toEqual([`removal n6: remove 6${fence}`, `removal n5: remove 5${fence}`]);
    expect(world.tasks()[0]?.command(envelope()).note).toBe("it never started");
    expect(world.set({ removeUnstartedAfterMs: 0 }).shown).toEqual([]);
  });

  test("never of a voter", () => {
    const world = new World({ removeUnstartedAfterMs: 1000 }).apply(add(4)).learner(9, LEARNER);
    world.unstarted.set(4, 1e6);
    expect(world.shown).toEqual([]);
  });
});
