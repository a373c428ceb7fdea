/** The rules for learners and their targets, and for changes of several members. */
import {
  changeMembersCommand,
  LEARNERS_MAX,
  promoteMemberCommand,
  replaceMemberCommand,
  RosterEvent_Kind,
  toMember,
} from "../../src/roster/index";
import type { NewMember, Reason, Roster, RosterCommand } from "../../src/roster/index";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import { ConfChangeTransition, ConfChangeType } from "../../src/raft/index";
import {
  accepted,
  add,
  apply,
  by,
  envelope,
  memberOf,
  newMember,
  publish,
  refused,
  rosterOf,
} from "./support/log";

const promote = (member: { name: string }): RosterCommand =>
  promoteMemberCommand(envelope(), { member: by(member) });
const replace = (member: { name: string }, replacement: NewMember): RosterCommand =>
  replaceMemberCommand(envelope(), { member: by(member), peerUrl: "", replacement });

describe("learners", () => {
  const { VOTER, LEARNER, STANDBY, UNSPECIFIED } = MemberTarget;

  test.each([
    [undefined, UNSPECIFIED, VOTER, 1],
    [VOTER, UNSPECIFIED, VOTER, 1],
    [LEARNER, LEARNER, LEARNER, 2],
    [STANDBY, STANDBY, STANDBY, 2],
  ])("a learner with target %s is kept as %s and shown as %s", (target, kept, shown, version) => {
    const roster = rosterOf(1);
    const command = add(2, { learner: true, ...(target === undefined ? {} : { target }) });
    // A member of an older version would drop a target, so it must not take such a command.
    expect(command.version).toBe(version);
    accepted(apply(roster, command).decision);
    expect(memberOf(roster, 2).target).toBe(kept);
    expect(toMember(memberOf(roster, 2))).toMatchObject({ role: MemberRole.LEARNER, target: shown });
  });

  test("a voter's target is a voter, also in a record of an older version and whatever the command says", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, add(2, { target: LEARNER })).decision);
    expect(toMember(memberOf(roster, 2))).toMatchObject({ role: MemberRole.VOTER, target: VOTER });
    expect(toMember({ ...memberOf(roster, 1), target: STANDBY }).target).toBe(VOTER);
  });

  test("there are at most 32; voters can be added all the same, and one that leaves makes room", () => {
    const roster = rosterOf(1);
    for (let n = 2; n < 2 + LEARNERS_MAX; n++) accepted(apply(roster, add(n, { learner: true })).decision);
    const refusal = refused(apply(roster, add(50, { learner: true })).decision, "TOO_MANY_LEARNERS");
    expect(refusal.metadata).toEqual({ max: "32" });
    accepted(apply(roster, add(51)).decision);
    // The replaced one leaves in the same change.
    accepted(apply(roster, replace({ name: "n3" }, newMember(52, { learner: true }))).decision);
    accepted(apply(roster, promote({ name: "n2" })).decision);
    accepted(apply(roster, add(53, { learner: true })).decision);
    refused(apply(roster, add(54, { learner: true })).decision, "TOO_MANY_LEARNERS");
  });

  test("the name of one that never started: the refusal says how its URL is changed", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, add(2, { learner: true })).decision);
    const other = refused(apply(roster, add(3, { name: "n2" })).decision, "MEMBER_NAME_EXISTS");
    expect(other.message).toContain("muster member update n2 --peer-url http://10.0.0.3:7461");
    const { peerUrl } = newMember(2);
    const same = refused(apply(roster, add(3, { name: "n2", peerUrl })).decision, "MEMBER_NAME_EXISTS");
    expect(same.message).toContain("never started; start it");
    accepted(apply(roster, publish(2)).decision);
    const started = refused(apply(roster, add(3, { name: "n2" })).decision, "MEMBER_NAME_EXISTS");
    expect(started.metadata).toEqual({ id: "2", name: "n2" });
  });
});

describe("changing several members", () => {
  type Names = Readonly<Record<"promote" | "demote" | "remove", string>>;
  const change = ({ promote: p = "", demote: d = "", remove: r = "" }: Partial<Names>): RosterCommand => {
    const selectors = (words: string) =>
      words
        .split(" ")
        .filter((word) => word !== "")
        .map((name) => by({ name }));
    return changeMembersCommand(envelope(), {
      promote: selectors(p),
      demote: selectors(d),
      remove: selectors(r),
    });
  };
  /** Voters n1 to n3, learners n4 to n6. */
  const sixOf = (): Roster => {
    const roster = rosterOf(3);
    for (const n of [4, 5, 6]) accepted(apply(roster, add(n, { learner: true })).decision);
    return roster;
  };

  test("promotes, demotes and removes at one revision, by one joint change", () => {
    const roster = sixOf();
    const result = apply(roster, change({ promote: "n4 n5", demote: "n1", remove: "n2 n6" }));
    expect(accepted(result.decision)).toMatchObject({ changed: true, revision: 7, member: null });
    expect(roster.voters()).toEqual([3n, 4n, 5n]);
    expect(memberOf(roster, 1)).toMatchObject({ learner: true, target: MemberTarget.LEARNER });
    expect([roster.tombstone(2n)?.revision, roster.tombstone(6n)?.revision]).toEqual([7, 7]);
    const { AddVoter, AddLearner, Remove } = ConfChangeType;
    expect(result.confChange?.transition).toBe(ConfChangeTransition.JointImplicit);
    expect(result.confChange?.changes.map(({ type, nodeId }) => [type, nodeId])).toEqual([
      [AddVoter, 4n],
      [AddVoter, 5n],
      [AddLearner, 1n],
      [Remove, 2n],
      [Remove, 6n],
    ]);
    const { PROMOTED, DEMOTED, REMOVED } = RosterEvent_Kind;
    expect(roster.eventsSince(6)?.map(({ kind }) => kind)).toEqual([
      PROMOTED,
      PROMOTED,
      DEMOTED,
      REMOVED,
      REMOVED,
    ]);
  });

  test("what is so already changes nothing; a learner that is demoted stays one", () => {
    const roster = sixOf();
    expect(accepted(apply(roster, change({ promote: "n1 n2" })).decision)).toMatchObject({ changed: false });
    accepted(apply(roster, change({ demote: "n4" })).decision);
    expect(memberOf(roster, 4)).toMatchObject({ learner: true, target: MemberTarget.LEARNER });
    const again = apply(roster, change({ demote: "n4", promote: "n1" }));
    expect(accepted(again.decision)).toMatchObject({ changed: false, revision: 8 });
    expect(again.confChange).toBeNull();
  });

  test.each<[string, Partial<Names>, Reason, Record<string, string>]>([
    ["nobody", {}, "INVALID_REQUEST", { field: "promote", problem: "demote or remove must name a member" }],
    [
      "one twice",
      { promote: "n4 n4" },
      "INVALID_REQUEST",
      { field: "promote[1]", problem: "names n4 a second time" },
    ],
    [
      "one in two lists",
      { promote: "n4", remove: "n5 n4" },
      "INVALID_REQUEST",
      { field: "remove[1]", problem: "names n4 a second time" },
    ],
    ["one that there is not", { promote: "n4", remove: "x" }, "MEMBER_NOT_FOUND", { name: "x" }],
    ["all voters", { demote: "n1 n2", remove: "n3" }, "LAST_VOTER", { id: "1", name: "n1" }],
  ])("refused as a whole: %s", (_, names, reason, metadata) => {
    const roster = sixOf();
    const before = roster.hash();
    const result = apply(roster, change(names));
    expect(refused(result.decision, reason).metadata).toEqual(metadata);
    expect(roster.hash()).toBe(before);
    expect(result.confChange).toBeNull();
  });

  test("all voters may be exchanged, and no more than 32 members become learners", () => {
    const roster = sixOf();
    accepted(apply(roster, change({ promote: "n4 n5 n6", remove: "n1 n2 n3" })).decision);
    expect(roster.voters()).toEqual([4n, 5n, 6n]);
    for (let n = 10; n < 10 + LEARNERS_MAX; n++) accepted(apply(roster, add(n, { learner: true })).decision);
    refused(apply(roster, change({ demote: "n4" })).decision, "TOO_MANY_LEARNERS");
    accepted(apply(roster, change({ demote: "n4", promote: "n10" })).decision);
  });
});
