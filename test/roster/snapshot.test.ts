/** Snapshots: restoring gives an equal roster, equal rosters give equal bytes, and invalid bytes are refused. */
import { RosterEvent, RosterSnapshot } from "../../src/generated/muster/storage/v1/snapshot";
import {
  MemberTarget,
  promoteMemberCommand,
  Roster,
  RosterSnapshotError,
  SNAPSHOT_VERSION,
} from "../../src/roster/index";
import {
  accepted,
  add,
  adminUrls,
  apply,
  by,
  CLUSTER_ID,
  envelope,
  memberOf,
  publish,
  remove,
  request,
  restored,
  rosterOf,
  sha256,
} from "./support/log";

/** A roster with at least one of everything that a snapshot contains. */
function fullRoster(): Roster {
  const roster = rosterOf(3);
  const commands = [
    add(0xfff0, { learner: true }, request("r1")),
    publish(1),
    remove({ name: "n3" }, "", request("r2")),
    remove({ name: "n3" }, "", request("r3")),
    add(8),
    remove({ id: 8n }),
    adminUrls({ id: 2n }, ["http://a:1", "http://a:2"], request("r4")),
    promoteMemberCommand(envelope(), { member: by({ id: 0xfff0n }) }),
    add(9, { id: 4n, learner: true }),
  ];
  for (const command of commands) apply(roster, command);
  return roster;
}

test("a restored roster equals the original", () => {
  const roster = fullRoster();
  const copy = restored(roster);
  expect(copy.clusterId).toBe(CLUSTER_ID);
  expect(copy.revision).toBe(roster.revision);
  expect(copy.appliedIndex).toBe(roster.appliedIndex);
  expect(copy.members()).toEqual(roster.members());
  expect(copy.voters()).toEqual([1n, 2n, 0xfff0n]);
  expect(copy.memberByName("n2")).toBe(copy.member(2n));
  expect(copy.tombstone(3n)).toEqual(roster.tombstone(3n));
  expect(copy.tombstonesByName("n3")).toEqual(roster.tombstonesByName("n3"));
  expect(copy.eventsSince(0)).toEqual(roster.eventsSince(0));
  for (const id of ["r1", "r2", "r3", "r4"]) expect(copy.outcome(id)).toEqual(roster.outcome(id));
  expect(copy.snapshot()).toEqual(roster.snapshot());
  expect(copy.hash()).toBe(roster.hash());
});

test("events of a version that kept less of them are restored without what it did not keep", () => {
  const roster = fullRoster();
  const state = RosterSnapshot.decode(roster.snapshot());
  const events = state.events.map(({ kind, revision, member }) =>
    RosterEvent.fromPartial({ kind, revision, member }),
  );
  const older = Roster.restore(RosterSnapshot.encode({ ...state, events }).finish(), {
    appliedIndex: roster.appliedIndex,
    sha256,
  });
  expect(older.members()).toEqual(roster.members());
  expect(older.eventsSince(0)?.map(({ revision, timeMs, previous }) => [revision, timeMs, previous])).toEqual(
    roster.eventsSince(0)?.map(({ revision }) => [revision, 0, undefined]),
  );
  // What members compare does not cover events: two versions agree on it.
  const newer = Roster.restore(roster.snapshot(), { appliedIndex: roster.appliedIndex, sha256 });
  expect(older.digests?.latest()).toEqual(newer.digests?.latest());
});

test("a restored member can't be changed from outside either", () => {
  const copy = restored(fullRoster());
  expect(() => {
    memberOf(copy, 1).name = "x";
  }).toThrow(TypeError);
});

test("a snapshot does not change when the roster changes afterwards", () => {
  const roster = fullRoster();
  const bytes = roster.snapshot();
  const hash = roster.hash();
  accepted(apply(roster, remove({ id: 1n })).decision);
  expect(roster.hash()).not.toBe(hash);
  expect(Roster.restore(bytes, { appliedIndex: 12 }).hash()).toBe(hash);
});

test("every list is in order: ids ascending, outcomes and events oldest first", () => {
  const snapshot = RosterSnapshot.decode(fullRoster().snapshot());
  expect(snapshot.members.map(({ id }) => id)).toEqual([1n, 2n, 4n, 0xfff0n]);
  expect(snapshot.tombstones.map(({ id }) => id)).toEqual([3n, 8n]);
  expect(snapshot.outcomes.map(({ requestId }) => requestId)).toEqual(["r1", "r2", "r3", "r4"]);
  expect([...(snapshot.outcomes[2]?.metadata.keys() ?? [])]).toEqual(["id", "name", "revision", "time"]);
  const revisions = snapshot.events.map(({ revision }) => revision);
  expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
});

test("only a roster with a target has the version that older members do not read", () => {
  const roster = fullRoster();
  expect(RosterSnapshot.decode(roster.snapshot()).version).toBe(1);
  accepted(apply(roster, add(12, { learner: true, target: MemberTarget.LEARNER })).decision);
  expect(RosterSnapshot.decode(roster.snapshot()).version).toBe(SNAPSHOT_VERSION);
  const pieces = [...{ [Symbol.iterator]: () => roster.freeze() }];
  expect(Buffer.concat(pieces).equals(roster.snapshot())).toBe(true);
  expect(memberOf(restored(roster), 12).target).toBe(MemberTarget.LEARNER);
});

test("tombstones are sorted whatever the order of removals was, before and after a restore", () => {
  const roster = rosterOf(6);
  for (const id of [5n, 2n, 6n, 3n]) accepted(apply(roster, remove({ id })).decision);
  const ids = (bytes: Uint8Array) => RosterSnapshot.decode(bytes).tombstones.map(({ id }) => id);
  expect(ids(roster.snapshot())).toEqual([2n, 3n, 5n, 6n]);
  const copy = restored(roster);
  for (const one of [roster, copy]) accepted(apply(one, remove({ id: 4n })).decision);
  expect(ids(copy.snapshot())).toEqual([2n, 3n, 4n, 5n, 6n]);
  expect(copy.snapshot()).toEqual(roster.snapshot());
});

test("tombstones of one name keep the order of their removal through a restore, whatever their ids", () => {
  const roster = rosterOf(1);
  for (const n of [9, 4, 7]) {
    accepted(apply(roster, add(n, { name: "x" })).decision);
    accepted(apply(roster, remove({ name: "x" })).decision);
  }
  expect(
    restored(roster)
      .tombstonesByName("x")
      .map(({ id }) => id),
  ).toEqual([9n, 4n, 7n]);
});

describe("bytes that are no valid snapshot of a roster are refused", () => {
  const good = RosterSnapshot.decode(fullRoster().snapshot());
  const [first, second] = good.members;
  if (first === undefined || second === undefined) throw new Error("members missing");
  const bytes = (change: Partial<RosterSnapshot>): Uint8Array =>
    RosterSnapshot.encode({ ...good, ...change }).finish();
  const tombstone = { id: 1n, name: "n1", revision: 1, timeMs: 0 };

  test.each<[string, Uint8Array, string]>([
    ["a version of the future", bytes({ version: 3 }), "version 3 is not known here (known: 2)"],
    ["no version", bytes({ version: 0 }), "version 0 is not known"],
    ["no bytes", new Uint8Array(), "version 0 is not known"],
    ["truncated bytes", bytes({}).slice(0, -3), "does not decode"],
    ["garbage", new Uint8Array(32).fill(0xff), "does not decode"],
    ["members out of order", bytes({ members: [second, first] }), "members are not in ascending order"],
    ["a member twice", bytes({ members: [first, first] }), "members are not in ascending order"],
    ["a member without id", bytes({ members: [{ ...first, id: 0n }] }), "members are not in ascending order"],
    ["a name twice", bytes({ members: [first, { ...second, name: first.name }] }), "two members are named"],
    ["a member that is removed", bytes({ tombstones: [tombstone] }), "id 1 is a removed member's"],
    [
      "tombstones out of order",
      bytes({
        tombstones: [
          { ...tombstone, id: 9n },
          { ...tombstone, id: 8n },
        ],
      }),
      "tombstones are not in",
    ],
    ["a change from after the snapshot", bytes({ revision: 1 }), "changed after revision 1"],
  ])("%s", (_, data, message) => {
    expect(() => Roster.restore(data, { appliedIndex: 20 })).toThrow(RosterSnapshotError);
    expect(() => Roster.restore(data, { appliedIndex: 20 })).toThrow(message);
  });

  test("and a revision beyond the applied index", () => {
    expect(() => Roster.restore(bytes({}), { appliedIndex: 3 })).toThrow(RosterSnapshotError);
  });
});

test("a remembered reason of a newer version is answered as INTERNAL, and kept unchanged", () => {
  const good = RosterSnapshot.decode(fullRoster().snapshot());
  const outcomes = good.outcomes.map((outcome) =>
    outcome.requestId === "r3" ? { ...outcome, reason: "NEWER" } : outcome,
  );
  const bytes = RosterSnapshot.encode({ ...good, outcomes }).finish();
  const roster = Roster.restore(bytes, { appliedIndex: 12 });
  expect(roster.outcome("r3")).toMatchObject({
    accepted: false,
    refusal: { reason: "INTERNAL", metadata: { reason: "NEWER" } },
  });
  expect(roster.snapshot()).toEqual(bytes);
});

test("rosters that differ in any part have different hashes", () => {
  const hashes = [
    rosterOf(3),
    rosterOf(2),
    restored(fullRoster()),
    ...[
      add(4),
      add(4, { learner: true }),
      remove({ id: 3n }),
      remove({ id: 3n }, "", envelope({ timeMs: 1 })),
      publish(1),
      publish(1, 2),
      publish(1, 1, undefined, "2.0.0"),
      adminUrls({ id: 1n }, ["http://10.0.0.1:7460"]),
      add(1, {}, request("r")),
      add(1, {}, request("r", "other")),
    ].map((command) => {
      const roster = rosterOf(3);
      apply(roster, command);
      return roster;
    }),
  ].map((roster) => roster.hash());
  expect(new Set(hashes).size).toBe(hashes.length);
  for (const hash of hashes) expect(hash).toMatch(/^[0-9a-f]{16}$/);
});
