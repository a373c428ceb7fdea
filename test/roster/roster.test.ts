/** Applying entries: order, revision, configuration, members, event history. */
import { RosterSnapshot } from "../../src/generated/muster/storage/v1/snapshot";
import {
  confChange,
  encodeCommand,
  promoteMemberCommand,
  replaceMemberCommand,
  Roster,
  RosterEvent_Kind,
  RosterInvariantError,
} from "../../src/roster/index";
import { ConfChangeTransition, ConfChangeType, EntryType } from "../../src/raft/index";
import type { ConfChangeSingle } from "../../src/raft/index";
import {
  accepted,
  add,
  adminUrls,
  apply,
  by,
  CLUSTER_ID,
  emptyEntry,
  entryFor,
  envelope,
  memberOf,
  move,
  newMember,
  publish,
  refused,
  remove,
  request,
  rosterOf,
  TIME_MS,
} from "./support/log";

describe("entries", () => {
  test("without a command change only the applied index", () => {
    const roster = rosterOf(3);
    const before = roster.hash();
    expect(roster.apply(emptyEntry(4))).toEqual({ kind: "empty" });
    const leaveJoint = { transition: ConfChangeTransition.Auto, changes: [], context: new Uint8Array() };
    const leave = { ...emptyEntry(5), type: EntryType.ConfChangeV2, confChange: leaveJoint };
    expect(roster.apply(leave)).toEqual({ kind: "empty" });
    expect(roster.appliedIndex).toBe(5);
    expect(roster.revision).toBe(3);
    expect(roster.hash()).toBe(before);
  });

  test.each([0, 1, 3, 5, 100])("out of order throw: %i after 3", (index) => {
    const roster = rosterOf(3);
    expect(() => roster.apply(emptyEntry(index === 3 ? 3 : index))).toThrow(RosterInvariantError);
    expect(roster.appliedIndex).toBe(3);
  });

  test("with an accepted membership change return exactly the change that they carry", () => {
    const roster = rosterOf(3);
    const entry = entryFor(roster, add(4));
    const result = roster.apply(entry);
    expect(result.kind === "command" && result.confChange).toBe(entry.confChange);
    const single = { ...entryFor(roster, remove({ id: 4n })), type: EntryType.ConfChange };
    expect(roster.apply(single)).toMatchObject({
      decision: { accepted: true },
      confChange: single.confChange,
    });
  });
});

describe("roster and Raft configuration change together or not at all", () => {
  const replace = replaceMemberCommand(envelope(), {
    member: by({ id: 2n }),
    peerUrl: "",
    replacement: newMember(9),
  });
  const steps = (...changes: [ConfChangeType, bigint][]): ConfChangeSingle[] =>
    changes.map(([type, nodeId]) => ({ type, nodeId }));

  test.each([
    ["an add without a change", add(4), null],
    ["an add with an empty change", add(4), []],
    ["an add of another id", add(4), steps([ConfChangeType.AddVoter, 5n])],
    ["a voter's add as a learner", add(4), steps([ConfChangeType.AddLearner, 4n])],
    ["an add that removes too", add(4), steps([ConfChangeType.AddVoter, 4n], [ConfChangeType.Remove, 1n])],
    ["a removal without a change", remove({ name: "n2" }), null],
    ["a removal of another member", remove({ name: "n2" }), steps([ConfChangeType.Remove, 1n])],
    ["an update of another member", move({ name: "n2" }, "http://b:1"), steps([ConfChangeType.Update, 1n])],
    ["half a replacement", replace, steps([ConfChangeType.Remove, 2n])],
    ["admin URLs with a change", adminUrls({ id: 1n }, ["http://a:1"]), steps([ConfChangeType.Remove, 1n])],
    ["a publish with a change", publish(1), steps([ConfChangeType.AddVoter, 8n])],
  ])("%s is refused", (_, command, changes) => {
    const roster = rosterOf(3);
    // The request clock goes on with every command.
    const state = () => ({ ...RosterSnapshot.decode(roster.snapshot()), requestClock: undefined });
    const before = state();
    const context = encodeCommand({ ...command, requestId: "r" });
    const entry =
      changes === null
        ? { ...emptyEntry(4), data: context }
        : {
            ...emptyEntry(4),
            type: EntryType.ConfChangeV2,
            confChange: { transition: ConfChangeTransition.Auto, changes, context },
          };
    const result = roster.apply(entry);
    if (result.kind !== "command") throw new Error("taken for an empty entry");
    refused(result.decision, "INTERNAL");
    expect(result.confChange).toBeNull();
    expect(state()).toEqual(before);
    // Not remembered: the request may be repeated with a matching entry.
    expect(roster.outcome("r")).toBeNull();
  });

  test("the configuration after all changes equals the roster's", () => {
    const roster = new Roster({ clusterId: CLUSTER_ID });
    const voters = new Set<bigint>();
    const learners = new Set<bigint>();
    const promote = promoteMemberCommand(envelope(), { member: by({ name: "n4" }) });
    const commands = [
      add(1),
      add(2),
      add(3),
      add(4, { learner: true }),
      add(4),
      move({ id: 1n }, "http://b:1"),
      promote,
      promote,
      replace,
      remove({ name: "n3" }),
      remove({ name: "n3" }),
      publish(1),
      remove({ id: 1n }),
      remove({ id: 9n }),
    ];
    for (const command of commands) {
      for (const { type, nodeId } of apply(roster, command).confChange?.changes ?? []) {
        if (type === ConfChangeType.Update) continue;
        voters.delete(nodeId);
        learners.delete(nodeId);
        if (type === ConfChangeType.AddVoter) voters.add(nodeId);
        if (type === ConfChangeType.AddLearner) learners.add(nodeId);
      }
      expect(new Set(roster.voters())).toEqual(voters);
      expect(new Set(roster.members().flatMap(({ id, learner }) => (learner ? [id] : [])))).toEqual(learners);
    }
    expect(roster.voters()).toEqual([4n]);
  });
});

describe("evaluating", () => {
  test("decides as apply would and changes nothing", () => {
    const roster = rosterOf(3);
    const before = roster.snapshot();
    const command = add(4, {}, envelope({ requestId: "r" }));
    const decision = accepted(roster.evaluate(command));
    expect(decision).toMatchObject({
      repeated: false,
      changed: true,
      revision: 3,
      member: { id: 4n, createRevision: 0 },
    });
    expect(accepted(roster.evaluate(move({ id: 1n }, "http://b:1"))).member).toMatchObject({
      peerUrls: ["http://b:1"],
      createRevision: 1,
      updateRevision: 0,
    });
    accepted(roster.evaluate(remove({ id: 1n })));
    refused(roster.evaluate(add(4, { name: "n1" })), "MEMBER_NAME_EXISTS");
    expect(roster.snapshot()).toEqual(before);
    expect(roster.outcome("r")).toBeNull();
    expect(roster.appliedIndex).toBe(3);
  });
});

describe("the expected revision", () => {
  const at = (expectedRevision: number) => add(4, { name: "n1" }, envelope({ expectedRevision }));

  test.each([1, 2, 4, Number.MAX_SAFE_INTEGER])(
    "%i is refused at revision 3, before the rules are checked",
    (expected) => {
      const roster = rosterOf(3);
      const before = roster.hash();
      const refusal = refused(apply(roster, at(expected)).decision, "REVISION_MISMATCH");
      expect(refusal.metadata).toEqual({ revision: "3", expected_revision: String(expected) });
      expect(roster.hash()).toBe(before);
    },
  );

  test("0 allows any revision, and with the current one the rules decide", () => {
    const roster = rosterOf(3);
    refused(apply(roster, at(0)).decision, "MEMBER_NAME_EXISTS");
    roster.apply(emptyEntry(5));
    refused(apply(roster, at(3)).decision, "MEMBER_NAME_EXISTS");
    accepted(apply(roster, add(4, {}, envelope({ expectedRevision: 3 }))).decision);
    expect(roster.revision).toBe(7);
    refused(apply(roster, add(5, {}, envelope({ expectedRevision: 3 }))).decision, "REVISION_MISMATCH");
  });
});

describe("members", () => {
  test("are in ascending order of id as unsigned numbers, in the same array until the roster changes", () => {
    const roster = rosterOf(1);
    const ids = [0x8000000000000000n, 0xabn, 0xffff_ffff_ffff_fff0n, 9n];
    ids.forEach((id, i) => accepted(apply(roster, add(10 + i, { id })).decision));
    expect(roster.members().map(({ id }) => id)).toEqual([
      1n,
      9n,
      0xabn,
      0x8000000000000000n,
      0xffff_ffff_ffff_fff0n,
    ]);
    expect(roster.voters()).toEqual(roster.members().map(({ id }) => id));
    const first = roster.members();
    refused(apply(roster, add(1)).decision, "MEMBER_ID_EXISTS");
    expect(roster.members()).toBe(first);
    accepted(apply(roster, publish(1)).decision);
    expect(roster.members()).not.toBe(first);
    expect(first[0]?.started).toBe(false);
  });

  test("can't be changed from outside", () => {
    const roster = rosterOf(1);
    expect(() => {
      memberOf(roster, 1).name = "x";
    }).toThrow(TypeError);
    expect(() => memberOf(roster, 1).peerUrls.push("x")).toThrow(TypeError);
    expect(Object.isFrozen(roster.members())).toBe(true);
  });

  test("a command is not kept by reference: changing it afterwards changes nothing", () => {
    const roster = rosterOf(1);
    const entry = entryFor(roster, adminUrls({ id: 1n }, ["http://a:1"]));
    roster.apply(entry);
    entry.data.fill(0);
    expect(memberOf(roster, 1).adminUrls).toEqual(["http://a:1"]);
    const published = entryFor(roster, publish(1, 5));
    roster.apply(published);
    published.data.fill(0);
    expect(memberOf(roster, 1).instanceId).toEqual(Buffer.alloc(16, 5));
  });
});

describe("events", () => {
  test("one for every change, in order; none for what changed nothing", () => {
    const roster = rosterOf(2);
    accepted(apply(roster, publish(1)).decision);
    accepted(apply(roster, publish(1)).decision);
    refused(apply(roster, add(1)).decision, "MEMBER_ID_EXISTS");
    accepted(apply(roster, remove({ id: 2n })).decision);
    const summary = roster.eventsSince(0)?.map(({ kind, revision, member }) => [kind, revision, member?.id]);
    expect(summary).toEqual([
      [RosterEvent_Kind.ADDED, 1, 1n],
      [RosterEvent_Kind.ADDED, 2, 2n],
      [RosterEvent_Kind.UPDATED, 3, 1n],
      [RosterEvent_Kind.REMOVED, 6, 2n],
    ]);
    expect(roster.eventsSince(2)?.map(({ revision }) => revision)).toEqual([3, 6]);
    expect(roster.eventsSince(5)?.map(({ revision }) => revision)).toEqual([6]);
    expect(roster.eventsSince(6)).toEqual([]);
    expect(roster.eventsSince(99)).toEqual([]);
  });

  test("say what the member was before, when it changed, who asked for it, why, and under which request id", () => {
    const roster = rosterOf(1);
    const before = memberOf(roster, 1);
    const head = request("r1", "content", { note: "moved", caller: "ann" });
    accepted(apply(roster, adminUrls({ id: 1n }, ["http://a:1"], head)).decision);
    const common = { timeMs: TIME_MS, caller: "ann", note: "moved", requestId: "r1" };
    expect(roster.eventsSince(1)).toEqual([
      {
        kind: RosterEvent_Kind.UPDATED,
        revision: 2,
        member: memberOf(roster, 1),
        previous: before,
        ...common,
      },
    ]);
  });

  test("of a publish are the member's own, whoever brought it; of a first member nobody's", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, { ...publish(1), caller: "ann" }).decision);
    expect(roster.eventsSince(0)?.map(({ caller }) => caller)).toEqual(["", "member"]);
  });

  test("of an addition and of a removal have no member before", () => {
    const roster = rosterOf(2);
    const gone = memberOf(roster, 2);
    accepted(apply(roster, remove({ id: 2n })).decision);
    expect(roster.eventsSince(0)?.map(({ previous }) => previous)).toEqual([undefined, undefined, undefined]);
    expect(roster.stepAfter(2)[0]).toMatchObject({ kind: RosterEvent_Kind.REMOVED, member: gone });
  });

  test("of one revision are one step", () => {
    const roster = rosterOf(3);
    const replacement = newMember(9);
    const fields = { member: by({ id: 2n }), peerUrl: "", replacement };
    accepted(apply(roster, replaceMemberCommand(envelope(), fields)).decision);
    accepted(apply(roster, publish(1)).decision);
    const step = (after: number) => roster.stepAfter(after).map(({ kind, revision }) => [kind, revision]);
    expect(step(2)).toEqual([[RosterEvent_Kind.ADDED, 3]]);
    expect(step(3)).toEqual([
      [RosterEvent_Kind.REMOVED, 4],
      [RosterEvent_Kind.ADDED, 4],
    ]);
    expect(step(4)).toEqual([[RosterEvent_Kind.UPDATED, 5]]);
    expect([step(5), step(99)]).toEqual([[], []]);
  });

  test("the oldest are dropped, and oldestRevision is the first revision from which a watch can resume", () => {
    const roster = rosterOf(3, { eventsLimit: 4 });
    expect(roster.oldestRevision).toBe(0);
    for (let i = 1; i <= 4; i++) accepted(apply(roster, adminUrls({ id: 1n }, [`http://a:${i}`])).decision);
    expect(roster.oldestRevision).toBe(4);
    expect(roster.eventsSince(3)).toBeNull();
    expect(roster.eventsSince(4)?.map(({ revision }) => revision)).toEqual([5, 6, 7]);
  });

  test("a watch can't resume between the two events of a replacement when the first was dropped", () => {
    const roster = rosterOf(3, { eventsLimit: 2 });
    const replacement = newMember(9);
    accepted(
      apply(roster, replaceMemberCommand(envelope(), { member: by({ id: 2n }), peerUrl: "", replacement }))
        .decision,
    );
    accepted(apply(roster, publish(1)).decision);
    expect(roster.eventsSince(3)).toBeNull();
    expect(roster.eventsSince(4)?.map(({ revision }) => revision)).toEqual([5]);
  });
});

test("the leader looks up the member of a membership change in its roster", () => {
  const roster = rosterOf(3);
  expect(confChange(roster, remove({ id: 3n, name: "n3" }))?.changes).toEqual([
    { type: ConfChangeType.Remove, nodeId: 3n },
  ]);
  accepted(apply(roster, remove({ id: 3n })).decision);
  expect(confChange(roster, remove({ id: 3n, name: "n3" }))).toBeNull();
});
