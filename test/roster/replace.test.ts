/** The rules of ReplaceMember: side by side and in place, what the new member takes over, and what ends a replacement. */
import {
  changeMembersCommand,
  confChange,
  promoteMemberCommand,
  replaceMemberCommand,
  RosterEvent_Kind,
  toMember,
} from "../../src/roster/index";
import type { MemberRecord, NewMember, Reason, Roster, RosterCommand } from "../../src/roster/index";
import { MemberTarget } from "../../src/generated/muster/v1/member";
import { ConfChangeTransition, ConfChangeType } from "../../src/raft/index";
import {
  accepted,
  add,
  adminUrls,
  apply,
  by,
  envelope,
  memberOf,
  move,
  newMember,
  publish,
  refused,
  remove,
  restored,
  rosterOf,
} from "./support/log";

const { UNSPECIFIED, LEARNER, STANDBY } = MemberTarget;
const { ADDED, UPDATED, PROMOTED, REMOVED } = RosterEvent_Kind;

/** Replaces `old` by member n, as the service asks for it: a learner. */
const beside = (old: string, n: number, extra: Partial<NewMember> = {}): RosterCommand =>
  replaceMemberCommand(envelope(), {
    member: by({ name: old }),
    peerUrl: "",
    replacement: newMember(n, { learner: true, ...extra }),
    sideBySide: true,
  });
const inPlace = (old: string, id: number, extra: Partial<NewMember> = {}): RosterCommand =>
  replaceMemberCommand(envelope(), {
    member: by({ name: old }),
    peerUrl: "",
    replacement: { id: BigInt(id), name: "", peerUrl: "", adminUrls: [], learner: true, ...extra },
  });
const change = (
  lists: Partial<Record<"promote" | "demote" | "remove" | "standBy", string>>,
): RosterCommand => {
  const named = (names = "") => names.split(" ").flatMap((name) => (name === "" ? [] : [by({ name })]));
  const { promote, demote, remove: gone, standBy } = lists;
  return changeMembersCommand(envelope(), {
    promote: named(promote),
    demote: named(demote),
    remove: named(gone),
    standBy: named(standBy),
  });
};
const promote = (name: string): RosterCommand => promoteMemberCommand(envelope(), { member: by({ name }) });

/** Voters n1 to n3, and n4 a learner, n5 a standby. */
function fiveOf(): Roster {
  const roster = rosterOf(3);
  for (let n = 1; n <= 3; n++) accepted(apply(roster, publish(n)).decision);
  accepted(apply(roster, add(4, { learner: true, target: LEARNER })).decision);
  accepted(apply(roster, add(5, { learner: true, target: STANDBY })).decision);
  return roster;
}
const events = (roster: Roster, after: number): unknown[] =>
  roster.eventsSince(after)?.map(({ kind, member }) => [kind, member?.name, member?.id]) ?? [];

describe("side by side", () => {
  test.each([
    ["n1", UNSPECIFIED],
    ["n4", LEARNER],
    ["n5", STANDBY],
  ])("%s: a learner joins that replaces it, with its target", (old, target) => {
    const roster = fiveOf();
    const before = roster.memberByName(old);
    const result = apply(roster, beside(old, 9));
    const { member, revision } = accepted(result.decision);
    expect(member).toMatchObject({ id: 9n, name: "n9", learner: true, target, replaces: before?.id });
    expect(roster.memberByName(old)).toBe(before);
    expect(revision).toBe(roster.appliedIndex);
    expect(events(roster, revision - 1)).toEqual([[ADDED, "n9", 9n]]);
    expect(result.confChange?.changes).toEqual([{ type: ConfChangeType.AddLearner, nodeId: 9n }]);
    expect(result.confChange?.transition).toBe(ConfChangeTransition.Auto);
    expect(toMember(memberOf(roster, 9)).replaces).toBe(before?.id.toString(16));
    expect(memberOf(restored(roster), 9)).toEqual(memberOf(roster, 9));
  });

  test("also of the only voter, and of a learner that is to become a voter", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, add(2, { learner: true })).decision);
    accepted(apply(roster, beside("n1", 8)).decision);
    accepted(apply(roster, beside("n2", 9)).decision);
    expect(roster.members().map(({ replaces, target }) => [replaces, target])).toEqual([
      [0n, UNSPECIFIED],
      [0n, UNSPECIFIED],
      [1n, UNSPECIFIED],
      [2n, UNSPECIFIED],
    ]);
  });

  test("what the new member says of itself, and where it is reached, leaves the replacement as it is", () => {
    const roster = fiveOf();
    for (const command of [beside("n1", 9), publish(9), move({ id: 9n }, "http://elsewhere:1")])
      accepted(apply(roster, command).decision);
    accepted(apply(roster, adminUrls({ id: 9n }, ["http://elsewhere:2"])).decision);
    expect(memberOf(roster, 9)).toMatchObject({ replaces: 1n, started: true });
  });

  test.each<[string, RosterCommand, Reason, Record<string, string>]>([
    ["no such member", beside("n7", 9), "MEMBER_NOT_FOUND", { name: "n7" }],
    ["a name that exists", beside("n1", 9, { name: "n2" }), "MEMBER_NAME_EXISTS", { id: "2", name: "n2" }],
    [
      "the peer URL of another member",
      beside("n1", 9, { peerUrl: newMember(2).peerUrl }),
      "PEER_URL_EXISTS",
      { id: "2", name: "n2", peer_url: newMember(2).peerUrl },
    ],
    [
      "the peer URL of the old member",
      beside("n1", 9, { peerUrl: newMember(1).peerUrl }),
      "PEER_URL_EXISTS",
      { id: "1", name: "n1", peer_url: newMember(1).peerUrl },
    ],
    [
      "no peer URL",
      beside("n1", 9, { peerUrl: "" }),
      "INVALID_REQUEST",
      { field: "peer_url", problem: "must be given with another name" },
    ],
    ["an id in use", beside("n1", 9, { id: 3n }), "MEMBER_ID_EXISTS", { id: "3" }],
  ])("refused: %s", (_, command, reason, metadata) => {
    const roster = fiveOf();
    const before = roster.hash();
    const result = apply(roster, command);
    expect(refused(result.decision, reason).metadata).toEqual(metadata);
    expect(result.confChange).toBeNull();
    expect(roster.hash()).toBe(before);
  });

  test("one at a time: neither the old member nor the new one is replaced again; the refusal says how to cancel", () => {
    const roster = fiveOf();
    accepted(apply(roster, beside("n1", 9)).decision);
    for (const command of [beside("n1", 8), inPlace("n1", 8), beside("n9", 8)]) {
      const refusal = refused(apply(roster, command).decision, "REPLACEMENT_UNDER_WAY");
      expect(refusal.metadata).toEqual({ id: "9", name: "n9", replaced_id: "1", replaced_name: "n1" });
      expect(refusal.message).toContain("muster member remove n9");
    }
    // Another member may be.
    accepted(apply(roster, beside("n2", 8)).decision);
    // And the same one once that is cancelled.
    accepted(apply(roster, remove({ name: "n9" })).decision);
    accepted(apply(roster, beside("n1", 10)).decision);
  });
});

describe("the end of a replacement", () => {
  const replacing = (): Roster => {
    const roster = fiveOf();
    accepted(apply(roster, beside("n1", 9)).decision);
    return roster;
  };

  test("one change promotes the new one and removes the old one, at one revision", () => {
    const roster = replacing();
    const { revision } = accepted(apply(roster, change({ promote: "n9", remove: "n1" })).decision);
    expect(roster.voters()).toEqual([2n, 3n, 9n]);
    expect(memberOf(roster, 9)).toMatchObject({ replaces: 0n, learner: false, updateRevision: revision });
    expect(events(roster, revision - 1)).toEqual([
      [PROMOTED, "n9", 9n],
      [REMOVED, "n1", 1n],
    ]);
    expect(restored(roster).hash()).toBe(roster.hash());
  });

  test.each<[string, RosterCommand, unknown[]]>([
    [
      "the removal of the old one",
      remove({ name: "n1" }),
      [
        [REMOVED, "n1", 1n],
        [UPDATED, "n9", 9n],
      ],
    ],
    [
      "a change that removes the old one among others",
      change({ demote: "n2", remove: "n1" }),
      [
        [RosterEvent_Kind.DEMOTED, "n2", 2n],
        [REMOVED, "n1", 1n],
        [UPDATED, "n9", 9n],
      ],
    ],
    ["a demotion of the new one", change({ demote: "n9" }), [[UPDATED, "n9", 9n]]],
    ["the new one as a standby", change({ standBy: "n9" }), [[UPDATED, "n9", 9n]]],
  ])("%s leaves nothing to replace", (_, command, changes) => {
    const roster = replacing();
    const { revision } = accepted(apply(roster, command).decision);
    expect(memberOf(roster, 9)).toMatchObject({ learner: true, replaces: 0n, updateRevision: revision });
    expect(events(roster, revision - 1)).toEqual(changes);
    expect(restored(roster).hash()).toBe(roster.hash());
  });

  test.each<[string, string, RosterCommand, Partial<MemberRecord>]>([
    ["a voter", "n1", remove({ name: "n1" }), { learner: true, target: UNSPECIFIED }],
    ["a standby", "n5", remove({ name: "n5" }), { learner: true, target: STANDBY }],
    ["a voter that became a standby", "n1", change({ promote: "n5", standBy: "n1" }), { target: STANDBY }],
    ["a voter that was demoted", "n1", change({ demote: "n1" }), { target: LEARNER }],
    [
      "a standby that became a voter",
      "n5",
      change({ promote: "n5", standBy: "n2" }),
      { target: UNSPECIFIED },
    ],
  ])(
    "a learner that replaced %s is to become what that one is by the time it goes",
    (_, old, since, expected) => {
      const roster = fiveOf();
      accepted(apply(roster, beside(old, 9)).decision);
      accepted(apply(roster, since).decision);
      if (roster.memberByName(old) !== null) accepted(apply(roster, remove({ name: old })).decision);
      expect(memberOf(roster, 9)).toMatchObject({ ...expected, learner: true, replaces: 0n });
      expect(restored(roster).hash()).toBe(roster.hash());
    },
  );

  test("the removal of the new one cancels it, and leaves the old one alone", () => {
    const roster = replacing();
    const before = memberOf(roster, 1);
    accepted(apply(roster, remove({ name: "n9" })).decision);
    expect(memberOf(roster, 1)).toBe(before);
  });

  test("a new member that is promoted by hand still replaces the old one; a demotion ends that", () => {
    const roster = replacing();
    accepted(apply(roster, promote("n9")).decision);
    expect(memberOf(roster, 9)).toMatchObject({ learner: false, replaces: 1n });
    accepted(apply(roster, change({ demote: "n9" })).decision);
    expect(memberOf(roster, 9)).toMatchObject({ learner: true, target: LEARNER, replaces: 0n });
  });

  test("a demotion of the old one does not end it", () => {
    const roster = replacing();
    accepted(apply(roster, change({ demote: "n1" })).decision);
    expect(memberOf(roster, 9).replaces).toBe(1n);
  });
});

describe("in place", () => {
  test.each([
    ["n2", UNSPECIFIED],
    ["n4", LEARNER],
    ["n5", STANDBY],
  ])("%s: another id with its name, peer URL and target, as a learner; one joint change", (old, target) => {
    const roster = fiveOf();
    const before = roster.memberByName(old);
    if (before === null) throw new Error("not there");
    const result = apply(roster, inPlace(old, 9));
    const { member, revision } = accepted(result.decision);
    expect(member).toMatchObject({
      id: 9n,
      name: old,
      peerUrls: before.peerUrls,
      learner: true,
      started: false,
      target,
      replaces: 0n,
      createRevision: revision,
    });
    expect(roster.memberByName(old)?.id).toBe(9n);
    expect(roster.tombstone(before.id)).toMatchObject({ name: old, revision });
    expect(events(roster, revision - 1)).toEqual([
      [REMOVED, old, before.id],
      [ADDED, old, 9n],
    ]);
    expect(result.confChange?.transition).toBe(ConfChangeTransition.JointImplicit);
    expect(result.confChange?.changes).toEqual([
      { type: ConfChangeType.Remove, nodeId: before.id },
      { type: ConfChangeType.AddLearner, nodeId: 9n },
    ]);
  });

  test("another peer URL may be given with the old name", () => {
    const roster = fiveOf();
    accepted(apply(roster, inPlace("n2", 9, { name: "n2", peerUrl: "http://elsewhere:1" })).decision);
    expect(memberOf(roster, 9)).toMatchObject({ name: "n2", peerUrls: ["http://elsewhere:1"] });
    const taken = inPlace("n3", 10, { peerUrl: newMember(1).peerUrl });
    refused(apply(roster, taken).decision, "PEER_URL_EXISTS");
  });

  test("what takes the place of a replacement goes on with it", () => {
    const roster = fiveOf();
    accepted(apply(roster, beside("n1", 9)).decision);
    accepted(apply(roster, inPlace("n9", 10)).decision);
    expect(memberOf(roster, 10)).toMatchObject({ name: "n9", replaces: 1n });
    const refusal = refused(apply(roster, beside("n1", 11)).decision, "REPLACEMENT_UNDER_WAY");
    expect(refusal.metadata).toMatchObject({ id: "a", name: "n9" });
  });

  test("the last voter can't be replaced by a learner, but beside it", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, add(2, { learner: true })).decision);
    const refusal = refused(apply(roster, inPlace("n1", 9)).decision, "LAST_VOTER");
    expect(refusal.metadata).toEqual({ id: "1", name: "n1" });
    accepted(apply(roster, beside("n1", 9)).decision);
  });

  test("the proposed membership change is none for a member that there is not, which apply then refuses", () => {
    const roster = fiveOf();
    expect(confChange(roster, inPlace("n7", 9))).toBeNull();
    refused(apply(roster, inPlace("n7", 9)).decision, "MEMBER_NOT_FOUND");
    accepted(apply(roster, remove({ name: "n3" })).decision);
    refused(apply(roster, inPlace("n3", 9)).decision, "MEMBER_REMOVED");
  });
});
