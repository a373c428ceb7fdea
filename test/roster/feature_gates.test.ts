/** What waits for the newest version: which commands use which feature, and what is said of the members that lack it. */
import {
  addMemberCommand,
  changeMembersCommand,
  clusterVersion,
  CommandKind,
  featureNotReady,
  featureOf,
  knowsKind,
  MemberTarget,
  promoteMemberCommand,
  readyFeatures,
  removeMemberCommand,
  replaceMemberCommand,
  updateSettingsCommand,
} from "../../src/roster/index";
import type { Feature, MemberRecord, Roster, RosterCommand } from "../../src/roster/index";
import {
  add,
  adminUrls,
  apply,
  by,
  envelope,
  move,
  newMember,
  publish,
  request,
  rosterOf,
} from "./support/log";

/** Members n1, n2, ... that published these versions; null: never started. */
function running(...versions: (string | null)[]): Roster {
  const roster = rosterOf(versions.length);
  for (const [i, version] of versions.entries())
    if (version !== null) apply(roster, publish(i + 1, i + 1, undefined, version));
  return roster;
}
const membersOf = (...versions: (string | null)[]): readonly MemberRecord[] => running(...versions).members();

const FEATURES: readonly Feature[] = ["target", "promote", "change", "replace", "settings"];
const member = by({ id: 1n });
const lists = { promote: [member], demote: [], remove: [] };
const replacement = newMember(9, { learner: true });
const settings = { autoPromote: false, standbyTakeoverAfterMs: undefined, removeUnstartedAfterMs: undefined };

test.each<[string, RosterCommand, Feature | null]>([
  ["a learner that becomes a voter", add(4, { learner: true }), null],
  [
    "a standby",
    addMemberCommand(envelope(), newMember(4, { learner: true, target: MemberTarget.STANDBY })),
    "target",
  ],
  ["a caller's promotion", promoteMemberCommand(request("r"), { member }), "promote"],
  ["the leader's own promotion", promoteMemberCommand(envelope(), { member }), null],
  ["a change of several", changeMembersCommand(request("r"), lists), "change"],
  ["the leader's own change of several", changeMembersCommand(envelope(), lists), "change"],
  [
    "a replacement in place",
    replaceMemberCommand(request("r"), { member, peerUrl: "", replacement }),
    "replace",
  ],
  [
    "a replacement side by side",
    replaceMemberCommand(request("r"), { member, peerUrl: "", replacement, sideBySide: true }),
    "replace",
  ],
  ["settings", updateSettingsCommand(request("r"), settings), "settings"],
  ["a removal", removeMemberCommand(request("r"), { member, peerUrl: "" }), null],
  ["a peer URL", move({ id: 1n }, "http://b:1"), null],
  ["admin URLs", adminUrls({ id: 1n }, ["http://b:1"]), null],
  ["a publish", publish(1), null],
])("%s", (_, command, feature) => {
  expect(featureOf(command)).toBe(feature);
});

test.each(FEATURES)("%s is refused while a started member is older, which the refusal names", (feature) => {
  const error = featureNotReady(membersOf("0.3.0", "0.2.9", null, "0.1.0"), feature);
  expect(error?.refusal.reason).toBe("FEATURE_NOT_READY");
  expect(error?.refusal.metadata).toEqual({
    feature,
    needed_version: "0.3.0",
    names: "n2,n4",
    ids: "2,4",
    versions: "0.2.9,0.1.0",
  });
  expect(error?.message).toContain("n2 (0.2.9), n4 (0.1.0) run an older one");
  const one = featureNotReady(membersOf("0.3.0", "0.2.9"), feature);
  expect(one?.message).toContain("n2 (0.2.9) runs an older one");
  expect(featureNotReady(membersOf("0.3.0", null, "0.3.1-rc.1", "1.0.0"), feature)).toBeNull();
});

test.each([
  [[], []],
  [[null, null], []],
  [["0.3.0", null], FEATURES],
  [["0.3.0", "0.4.0-beta"], FEATURES],
  [["0.3.0", "0.2.0"], []],
  [["0.3.0", "dev"], []],
] as const)("members of %j know the features %j", (versions, features) => {
  expect(readyFeatures(membersOf(...versions))).toEqual(features);
});

test.each([
  [[], ""],
  [[null, null], ""],
  [["0.3.0"], "0.3.0"],
  [["0.3.1", "0.10.0", null, "0.3.0"], "0.3.0"],
  [["0.3.0", "0.3.0-rc.1"], "0.3.0"],
  [["1.0.0", "dev", "0.1.0"], "dev"],
] as const)("members of %j: the cluster's version is %j", (versions, oldest) => {
  expect(clusterVersion(membersOf(...versions))).toBe(oldest);
});

test("UPDATE_SETTINGS is a kind that older members do not know", () => {
  expect(knowsKind(membersOf("0.3.0", "0.2.0"), CommandKind.UPDATE_SETTINGS)).toBe(false);
  expect(knowsKind(membersOf("0.3.0", null), CommandKind.UPDATE_SETTINGS)).toBe(true);
});
