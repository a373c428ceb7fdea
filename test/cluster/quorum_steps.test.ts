/** What a dry run says of the quorum, step by step: for every command, with who is there now. */
import { quorumSteps } from "../../src/cluster/leader/quorum_steps";
import {
  changeMembersCommand,
  promoteMemberCommand,
  replaceMemberCommand,
  updateSettingsCommand,
} from "../../src/roster/index";
import { MemberTarget } from "../../src/generated/muster/v1/member";
import type { RosterCommand } from "../../src/roster/index";
import {
  add,
  adminUrls,
  apply,
  by,
  envelope,
  move,
  newMember,
  publish,
  remove,
  rosterOf,
} from "../roster/support/log";

const { LEARNER, STANDBY } = MemberTarget;
const SETTINGS = { standbyTakeoverAfterMs: undefined, removeUnstartedAfterMs: undefined };

/**
 * "now 3 2 1": the description, voters, quorum, failures tolerated.
 *
 * @param away voters that are not in contact
 */
function stepsOf(
  command: RosterCommand,
  { size = 3, away = [] as number[], autoPromote = true } = {},
): string[] {
  const roster = rosterOf(size);
  for (let n = 1; n <= size; n++) apply(roster, publish(n));
  apply(roster, add(7, { learner: true, target: LEARNER }));
  apply(roster, add(8, { learner: true, target: STANDBY }));
  apply(roster, updateSettingsCommand(envelope(), { ...SETTINGS, autoPromote }));
  const voters = roster.voters().map((id) => ({
    id,
    name: `n${String(id)}`,
    started: true,
    inContactTicks: away.includes(Number(id)) ? null : 20,
  }));
  return quorumSteps(command, { roster, voters }).map(
    ({ description, voters: count, quorumSize, failuresTolerated }) =>
      `${description}: ${[count, quorumSize, failuresTolerated].join(" ")}`,
  );
}
const replace = (name: string, newName: string, sideBySide: boolean): RosterCommand =>
  replaceMemberCommand(envelope(), {
    member: by({ name }),
    peerUrl: "",
    replacement: { ...newMember(9, { learner: true }), name: newName },
    sideBySide,
  });
const promote = (name: string): RosterCommand => promoteMemberCommand(envelope(), { member: by({ name }) });
const named = (...names: string[]) => names.map((name) => by({ name }));

test.each<[string, RosterCommand, string[]]>([
  [
    "a new voter",
    add(9, { learner: true }),
    ["now: 3 2 1", "n9 joins as a learner: 3 2 1", "n9 votes: 4 3 1"],
  ],
  [
    "a read replica",
    add(9, { learner: true, target: LEARNER }),
    ["now: 3 2 1", "n9 joins as a learner: 3 2 1"],
  ],
  ["a standby", add(9, { learner: true, target: STANDBY }), ["now: 3 2 1", "n9 joins as a learner: 3 2 1"]],
  ["a removal of a voter", remove({ name: "n3" }), ["now: 3 2 1", "n3 is removed: 2 2 0"]],
  ["a removal of a learner", remove({ id: 7n }), ["now: 3 2 1", "n7 is removed: 3 2 1"]],
  ["a promotion", promote("n7"), ["now: 3 2 1", "n7 votes: 4 3 1"]],
  ["a promotion of a voter", promote("n2"), ["now: 3 2 1", "n2 votes: 3 2 1"]],
  [
    "a replacement side by side",
    replace("n1", "n9", true),
    ["now: 3 2 1", "n9 joins as a learner: 3 2 1", "n9 votes, n1 is removed: 3 2 1"],
  ],
  [
    "a replacement of a learner side by side",
    replace("n7", "n9", true),
    ["now: 3 2 1", "n9 joins as a learner: 3 2 1", "n9 is ready, n7 is removed: 3 2 1"],
  ],
  [
    "a replacement in place, without a name",
    replace("n1", "", false),
    ["now: 3 2 1", "the old n1 is removed, the new one joins as a learner: 2 2 0", "the new n1 votes: 3 2 1"],
  ],
  [
    "a replacement of a standby in place",
    replace("n8", "n8", false),
    ["now: 3 2 1", "the old n8 is removed, the new one joins as a learner: 3 2 1"],
  ],
  [
    "a change of several",
    changeMembersCommand(envelope(), {
      promote: named("n7", "n8"),
      demote: named("n1"),
      remove: named("n2", "n3"),
    }),
    ["now: 3 2 1", "n7, n8 vote; n1 votes no more; n2, n3 are removed: 2 2 0"],
  ],
  [
    "a takeover",
    changeMembersCommand(envelope(), { promote: named("n8"), demote: [], remove: [], standBy: named("n3") }),
    ["now: 3 2 1", "n8 votes; n3 votes no more: 3 2 1"],
  ],
  [
    "a change that names who is so already",
    changeMembersCommand(envelope(), { promote: named("n1"), demote: named("n7"), remove: [] }),
    ["now: 3 2 1", "n1 votes; n7 votes no more: 3 2 1"],
  ],
  ["a peer URL, which leaves every vote", move({ id: 2n }, "http://b:1"), ["now: 3 2 1"]],
  ["admin URLs", adminUrls({ id: 2n }, ["http://b:1"]), ["now: 3 2 1"]],
  ["a replacement of one that there is not", replace("n99", "n9", true), ["now: 3 2 1"]],
])("%s", (_, command, steps) => {
  expect(stepsOf(command)).toEqual(steps);
});

test("voters that are away count as failed in every step, until they leave", () => {
  expect(stepsOf(add(9, { learner: true }), { away: [3] })).toEqual([
    "now: 3 2 0",
    "n9 joins as a learner: 3 2 0",
    "n9 votes: 4 3 0",
  ]);
  expect(stepsOf(replace("n3", "n9", true), { away: [3] }).at(-1)).toBe("n9 votes, n3 is removed: 3 2 1");
  expect(stepsOf(replace("n3", "", false), { away: [3] })).toEqual([
    "now: 3 2 0",
    "the old n3 is removed, the new one joins as a learner: 2 2 0",
    "the new n3 votes: 3 2 1",
  ]);
  // Never below 0, although the quorum is gone.
  expect(stepsOf(remove({ name: "n1" }), { away: [2, 3] })).toEqual(["now: 3 2 0", "n1 is removed: 2 2 0"]);
});

test("the only voter", () => {
  expect(stepsOf(replace("n1", "n9", true), { size: 1 })).toEqual([
    "now: 1 1 0",
    "n9 joins as a learner: 1 1 0",
    "n9 votes, n1 is removed: 1 1 0",
  ]);
});

test("without auto_promote no member that is added votes, and a replacement side by side does", () => {
  const off = { autoPromote: false };
  expect(stepsOf(add(9, { learner: true }), off)).toHaveLength(2);
  expect(stepsOf(replace("n1", "", false), off)).toHaveLength(2);
  expect(stepsOf(replace("n1", "n9", true), off)).toHaveLength(3);
});
