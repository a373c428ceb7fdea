/** Every rule of the roster: which commands are refused and why, and the effect of accepted commands. */
import {
  promoteMemberCommand,
  replaceMemberCommand,
  RosterEvent_Kind,
  toMember,
} from "../../src/roster/index";
import type { NewMember, Reason, Roster, RosterCommand } from "../../src/roster/index";
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import { ConfChangeType, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD } from "../../src/raft/index";
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
  rosterOf,
  TIME_MS,
} from "./support/log";

const promote = (member: { id?: bigint; name?: string }): RosterCommand =>
  promoteMemberCommand(envelope(), { member: by(member) });
const replace = (
  member: { id?: bigint; name?: string },
  replacement: NewMember,
  peerUrl = "",
): RosterCommand => replaceMemberCommand(envelope(), { member: by(member), peerUrl, replacement });

/** n1, n2, n3, of which n3 was removed and its name is free; n4 a learner; n5 removed, its name used again by id 6. */
function wornRoster(): Roster {
  const roster = rosterOf(3);
  for (const command of [
    remove({ name: "n3" }),
    add(4, { learner: true }),
    add(5),
    remove({ name: "n5" }),
    add(6, { name: "n5" }),
  ]) {
    accepted(apply(roster, command).decision);
  }
  return roster;
}

describe("refusals: reason, metadata, and nothing changed", () => {
  const removed = { id: "3", name: "n3", revision: "4", time: "2026-01-02T03:04:05.678Z" };
  const url = (n: number): string => `http://10.0.0.${n}:7461`;

  test.each<[string, RosterCommand, Reason, Record<string, string>]>([
    ["add: id of a member", add(7, { id: 1n }), "MEMBER_ID_EXISTS", { id: "1" }],
    ["add: id of a removed member", add(7, { id: 3n }), "MEMBER_ID_EXISTS", { id: "3" }],
    ["add: name of a member", add(7, { name: "n1" }), "MEMBER_NAME_EXISTS", { id: "1", name: "n1" }],
    [
      "add: peer URL of a member",
      add(7, { peerUrl: url(1) }),
      "PEER_URL_EXISTS",
      { id: "1", name: "n1", peer_url: url(1) },
    ],
    [
      "add: peer URL of a learner",
      add(7, { peerUrl: url(4) }),
      "PEER_URL_EXISTS",
      { id: "4", name: "n4", peer_url: url(4) },
    ],
    [
      "add: id 0",
      add(7, { id: 0n }),
      "INVALID_REQUEST",
      { field: "id", problem: "must not be the reserved id 0" },
    ],
    [
      "add: a local thread's id",
      add(7, { id: LOCAL_APPLY_THREAD }),
      "INVALID_REQUEST",
      { field: "id", problem: "must not be the reserved id fffffffffffffffe" },
    ],
    [
      "add: no name",
      add(7, { name: "" }),
      "INVALID_REQUEST",
      { field: "name", problem: "must not be empty" },
    ],
    [
      "add: no peer URL",
      add(7, { peerUrl: "" }),
      "INVALID_REQUEST",
      { field: "peer_url", problem: "must not be empty" },
    ],
    [
      "update: peer URL of another",
      move({ name: "n1" }, url(2)),
      "PEER_URL_EXISTS",
      { id: "2", name: "n2", peer_url: url(2) },
    ],
    [
      "update: no peer URL",
      move({ name: "n1" }, ""),
      "INVALID_REQUEST",
      { field: "new_peer_url", problem: "must not be empty" },
    ],
    ["update: unknown name", move({ name: "x" }, url(9)), "MEMBER_NOT_FOUND", { name: "x" }],
    ["update: unknown id", move({ id: 0xabn }, url(9)), "MEMBER_NOT_FOUND", { id: "ab" }],
    ["update: removed", move({ name: "n3" }, url(9)), "MEMBER_REMOVED", removed],
    ["remove: unknown name", remove({ name: "x" }), "MEMBER_NOT_FOUND", { name: "x" }],
    ["remove: unknown id of a known name", remove({ id: 9n, name: "n1" }), "MEMBER_NOT_FOUND", { id: "9" }],
    [
      "remove: name of another",
      remove({ id: 1n, name: "n2" }),
      "MEMBER_MISMATCH",
      { id: "1", name: "n1", given_name: "n2" },
    ],
    [
      "remove: another's peer URL",
      remove({ name: "n1" }, url(2)),
      "MEMBER_MISMATCH",
      { id: "1", name: "n1", peer_url: url(1), given_peer_url: url(2) },
    ],
    ["remove: removed, by id", remove({ id: 3n }), "MEMBER_REMOVED", removed],
    ["remove: removed, by name", remove({ name: "n3" }), "MEMBER_REMOVED", removed],
    ["remove: removed, by both", remove({ id: 3n, name: "n3" }), "MEMBER_REMOVED", removed],
    [
      "remove: removed, by both, name in use again",
      remove({ id: 5n, name: "n5" }),
      "MEMBER_REMOVED",
      { ...removed, id: "5", name: "n5", revision: "7" },
    ],
    [
      "remove: removed id, another's name",
      remove({ id: 3n, name: "n1" }),
      "MEMBER_MISMATCH",
      { id: "3", name: "n3", given_name: "n1" },
    ],
    ["remove: removed, whatever the guard", remove({ id: 3n }, url(1)), "MEMBER_REMOVED", removed],
    [
      "remove: nobody named",
      remove({}),
      "INVALID_REQUEST",
      { field: "name", problem: "or id must be given to say which member is meant" },
    ],
    ["admin URLs: unknown", adminUrls({ name: "x" }, [url(9)]), "MEMBER_NOT_FOUND", { name: "x" }],
    ["admin URLs: removed", adminUrls({ id: 3n }, [url(9)]), "MEMBER_REMOVED", removed],
    [
      "admin URLs: none",
      adminUrls({ id: 1n }, []),
      "INVALID_REQUEST",
      { field: "admin_urls", problem: "must have at least one URL" },
    ],
    ["publish: unknown", publish(9), "MEMBER_NOT_FOUND", { id: "9" }],
    ["publish: removed", publish(3), "MEMBER_REMOVED", removed],
    ["promote: removed", promote({ name: "n3" }), "MEMBER_REMOVED", removed],
    [
      "promote: id of one, name of another",
      promote({ id: 4n, name: "n1" }),
      "MEMBER_MISMATCH",
      { id: "4", name: "n4", given_name: "n1" },
    ],
    [
      "add: name of a learner that never started",
      add(7, { name: "n4" }),
      "MEMBER_NAME_EXISTS",
      { id: "4", name: "n4", started: "false", peer_url: url(4), given_peer_url: url(7) },
    ],
    ["promote: unknown", promote({ name: "x" }), "MEMBER_NOT_FOUND", { name: "x" }],
    ["replace: unknown", replace({ name: "x" }, newMember(8)), "MEMBER_NOT_FOUND", { name: "x" }],
    [
      "replace: another's peer URL",
      replace({ name: "n1" }, newMember(8), url(2)),
      "MEMBER_MISMATCH",
      { id: "1", name: "n1", peer_url: url(1), given_peer_url: url(2) },
    ],
    ["replace: by the same id", replace({ name: "n1" }, newMember(1)), "MEMBER_ID_EXISTS", { id: "1" }],
    [
      "replace: by a third one's name",
      replace({ name: "n1" }, newMember(8, { name: "n2" })),
      "MEMBER_NAME_EXISTS",
      { id: "2", name: "n2" },
    ],
    [
      "replace: by a third one's peer URL",
      replace({ name: "n1" }, newMember(8, { peerUrl: url(2) })),
      "PEER_URL_EXISTS",
      { id: "2", name: "n2", peer_url: url(2) },
    ],
  ])("%s", (_, command, reason, metadata) => {
    const roster = wornRoster();
    const before = roster.hash();
    const early = refused(roster.evaluate(command), reason);
    const result = apply(roster, command);
    const refusal = refused(result.decision, reason);
    expect(refusal).toEqual(early);
    expect(refusal.metadata).toEqual(metadata);
    expect(refusal.message).toMatch(/^[\x20-\x7e]{10,400}$/);
    // The metadata has all dynamic parts of the message, so that programs need not parse the message.
    for (const [key, value] of Object.entries(metadata))
      if (key !== "started") expect(refusal.message).toContain(value);
    expect(result.confChange).toBeNull();
    expect(roster.hash()).toBe(before);
    expect(roster.appliedIndex).toBe(9);
  });

  test("MEMBER_REMOVED has a message that says what to do", () => {
    const { message } = refused(apply(wornRoster(), remove({ name: "n3" })).decision, "MEMBER_REMOVED");
    expect(message).toBe(
      'member "n3" (id 3) was permanently removed at revision 4 (2026-01-02T03:04:05.678Z); ' +
        "its id is never used again: add a new member instead",
    );
  });

  test("INVALID_REQUEST names its field", () => {
    const { violations } = refused(apply(wornRoster(), add(7, { id: 0n })).decision, "INVALID_REQUEST");
    expect(violations).toEqual([{ field: "id", description: "must not be the reserved id 0" }]);
  });

  test("the append thread's id is reserved too", () => {
    refused(apply(wornRoster(), add(7, { id: LOCAL_APPEND_THREAD })).decision, "INVALID_REQUEST");
  });

  test("for a name that was removed several times, the refusal describes the newest removal", () => {
    const roster = wornRoster();
    accepted(apply(roster, remove({ id: 6n })).decision);
    expect(refused(apply(roster, remove({ name: "n5" })).decision, "MEMBER_REMOVED").metadata).toMatchObject({
      id: "6",
      revision: "9",
    });
    expect(roster.tombstonesByName("n5").map(({ id }) => id)).toEqual([5n, 6n]);
  });

  test("a time beyond the range of RFC 3339 does not make apply throw", () => {
    const roster = rosterOf(2);
    accepted(apply(roster, remove({ id: 2n }, "", envelope({ timeMs: Number.MAX_SAFE_INTEGER }))).decision);
    const { metadata } = refused(apply(roster, remove({ id: 2n })).decision, "MEMBER_REMOVED");
    expect(metadata["time"]).toBe("9999-12-31T23:59:59.999Z");
  });
});

describe("adding", () => {
  test("gives a member that has not started", () => {
    const roster = rosterOf(3);
    const result = apply(roster, add(4, { adminUrls: ["http://a:1"], learner: true }));
    const decision = accepted(result.decision);
    expect(decision).toMatchObject({ repeated: false, changed: true, revision: 4 });
    expect(decision.member).toMatchObject({
      id: 4n,
      name: "n4",
      peerUrls: ["http://10.0.0.4:7461"],
      adminUrls: ["http://a:1"],
      learner: true,
      started: false,
      version: "",
      createRevision: 4,
      updateRevision: 4,
    });
    expect(result.confChange?.changes).toEqual([{ type: ConfChangeType.AddLearner, nodeId: 4n }]);
    expect(roster.revision).toBe(4);
    expect(roster.voters()).toEqual([1n, 2n, 3n]);
    expect(roster.memberByName("n4")).toBe(roster.member(4n));
  });

  test("the name of a removed member may be used again, its id may not", () => {
    const roster = rosterOf(3);
    accepted(apply(roster, remove({ name: "n3" })).decision);
    refused(apply(roster, add(3)).decision, "MEMBER_ID_EXISTS");
    accepted(apply(roster, add(4, { name: "n3", peerUrl: "http://10.0.0.3:7461" })).decision);
    expect(roster.memberByName("n3")?.id).toBe(4n);
    expect(roster.tombstone(3n)).toEqual({ id: 3n, name: "n3", revision: 4, timeMs: TIME_MS });
  });
});

describe("updating", () => {
  test("changes only the peer URL: a learner stays a learner, a started member stays started", () => {
    const roster = rosterOf(2);
    accepted(apply(roster, add(3, { learner: true })).decision);
    accepted(apply(roster, publish(3)).decision);
    const before = memberOf(roster, 3);
    const result = apply(roster, move({ id: 3n, name: "n3" }, "http://b:1"));
    expect(accepted(result.decision).member).toEqual({
      ...before,
      peerUrls: ["http://b:1"],
      updateRevision: 5,
    });
    expect(result.confChange?.changes).toEqual([{ type: ConfChangeType.Update, nodeId: 3n }]);
    expect(memberOf(roster, 3).learner).toBe(true);
    expect(memberOf(roster, 3).started).toBe(true);
  });

  test("to the same peer URL is accepted and changes nothing", () => {
    const roster = rosterOf(3);
    const before = roster.hash();
    const result = apply(roster, move({ name: "n2" }, "http://10.0.0.2:7461"));
    expect(accepted(result.decision)).toMatchObject({ changed: false, revision: 3, member: { id: 2n } });
    expect(result.confChange).toBeNull();
    expect(roster.hash()).toBe(before);
  });

  test("lets other members use the old peer URL", () => {
    const roster = rosterOf(2);
    accepted(apply(roster, move({ name: "n1" }, "http://b:1")).decision);
    accepted(apply(roster, move({ name: "n2" }, "http://10.0.0.1:7461")).decision);
    expect(memberOf(roster, 2).peerUrls).toEqual(["http://10.0.0.1:7461"]);
  });

  test("admin URLs: kept in order, equal ones change nothing, two members may have the same", () => {
    const roster = rosterOf(2);
    expect(
      accepted(apply(roster, adminUrls({ id: 1n }, ["http://b:1", "http://a:1"])).decision),
    ).toMatchObject({
      changed: true,
      revision: 3,
      member: { adminUrls: ["http://b:1", "http://a:1"], updateRevision: 3 },
    });
    expect(
      accepted(apply(roster, adminUrls({ id: 1n }, ["http://b:1", "http://a:1"])).decision),
    ).toMatchObject({
      changed: false,
      revision: 3,
    });
    expect(
      accepted(apply(roster, adminUrls({ id: 1n }, ["http://a:1", "http://b:1"])).decision).changed,
    ).toBe(true);
    expect(accepted(apply(roster, adminUrls({ id: 2n }, ["http://a:1"])).decision).changed).toBe(true);
    expect(roster.revision).toBe(6);
  });
});

describe("removing", () => {
  test("answers with the member as it was, and leaves a tombstone", () => {
    const roster = rosterOf(3);
    const before = memberOf(roster, 2);
    const result = apply(roster, remove({ name: "n2" }, "http://10.0.0.2:7461"));
    expect(accepted(result.decision)).toMatchObject({ changed: true, revision: 4 });
    expect(accepted(result.decision).member).toBe(before);
    expect(result.confChange?.changes).toEqual([{ type: ConfChangeType.Remove, nodeId: 2n }]);
    expect(roster.member(2n)).toBeNull();
    expect(roster.memberByName("n2")).toBeNull();
    expect(roster.members().map(({ id }) => id)).toEqual([1n, 3n]);
  });

  test("the last voter can't be removed, even when there are learners; a learner can", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, add(2, { learner: true })).decision);
    const refusal = refused(apply(roster, remove({ name: "n1" })).decision, "LAST_VOTER");
    expect(refusal.metadata).toEqual({ id: "1", name: "n1" });
    accepted(apply(roster, remove({ name: "n2" })).decision);
    refused(apply(roster, remove({ name: "n1" })).decision, "LAST_VOTER");
  });
});

describe("publishing", () => {
  test("marks the member as started permanently", () => {
    const roster = rosterOf(1);
    expect(accepted(apply(roster, publish(1)).decision)).toMatchObject({
      changed: true,
      revision: 2,
      member: { started: true, version: "1.0.0", adminUrls: ["http://10.0.0.1:7460"], updateRevision: 2 },
    });
    expect(accepted(apply(roster, publish(1)).decision)).toMatchObject({ changed: false, revision: 2 });
    accepted(apply(roster, move({ id: 1n }, "http://b:1")).decision);
    accepted(apply(roster, adminUrls({ id: 1n }, ["http://c:1"])).decision);
    expect(memberOf(roster, 1).started).toBe(true);
  });

  test("again with other facts changes the member", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, publish(1)).decision);
    expect(accepted(apply(roster, publish(1, 1, undefined, "1.1.0")).decision).member?.version).toBe("1.1.0");
    expect(accepted(apply(roster, publish(1, 1, ["http://d:1"], "1.1.0")).decision).changed).toBe(true);
  });

  test("from another data directory is refused and does not change the member", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, publish(1, 1)).decision);
    const before = roster.hash();
    expect(refused(apply(roster, publish(1, 2)).decision, "MEMBER_WIPED").metadata).toEqual({
      id: "1",
      name: "n1",
    });
    expect(roster.hash()).toBe(before);
  });

  test("without an instance id is refused", () => {
    const roster = rosterOf(1);
    const command = publish(1);
    if (command.body?.$case !== "publish") throw new Error("not a publish");
    command.body.value.instanceId = Buffer.alloc(0);
    refused(apply(roster, command).decision, "INVALID_REQUEST");
    expect(memberOf(roster, 1).started).toBe(false);
  });
});

describe("promoting and replacing", () => {
  test("promoting makes a learner a voter, whatever its target; promoting it again changes nothing", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, add(2, { learner: true, target: MemberTarget.STANDBY })).decision);
    const result = apply(roster, promote({ name: "n2" }));
    expect(accepted(result.decision).member).toMatchObject({
      learner: false,
      createRevision: 2,
      updateRevision: 3,
    });
    expect(result.confChange?.changes).toEqual([{ type: ConfChangeType.AddVoter, nodeId: 2n }]);
    expect(roster.voters()).toEqual([1n, 2n]);
    expect(memberOf(roster, 2).target).toBe(MemberTarget.UNSPECIFIED);
    const again = apply(roster, promote({ name: "n2" }));
    expect(accepted(again.decision)).toMatchObject({ changed: false, revision: 3, member: { name: "n2" } });
    expect(again.confChange).toBeNull();
    expect(roster.eventsSince(2)?.map(({ kind }) => kind)).toEqual([RosterEvent_Kind.PROMOTED]);
  });

  test("a replacement takes name and peer URL over at one revision", () => {
    const roster = rosterOf(3);
    const result = apply(
      roster,
      replace({ name: "n2" }, newMember(9, { name: "n2", peerUrl: "http://10.0.0.2:7461" })),
    );
    expect(accepted(result.decision)).toMatchObject({
      changed: true,
      revision: 4,
      member: { id: 9n, name: "n2" },
    });
    expect(roster.voters()).toEqual([1n, 3n, 9n]);
    expect(roster.memberByName("n2")?.id).toBe(9n);
    expect(roster.tombstone(2n)?.revision).toBe(4);
    expect(roster.eventsSince(3)?.map(({ kind, member }) => [kind, member?.id])).toEqual([
      [RosterEvent_Kind.REMOVED, 2n],
      [RosterEvent_Kind.ADDED, 9n],
    ]);
  });

  test("the last voter may be replaced by a voter, not by a learner", () => {
    const roster = rosterOf(1);
    refused(apply(roster, replace({ name: "n1" }, newMember(2, { learner: true }))).decision, "LAST_VOTER");
    accepted(apply(roster, replace({ name: "n1" }, newMember(2))).decision);
    expect(roster.voters()).toEqual([2n]);
  });
});

test("a member in the form of the public contract", () => {
  const roster = rosterOf(1);
  accepted(apply(roster, publish(1)).decision);
  accepted(apply(roster, add(0xab, { learner: true })).decision);
  expect(roster.members().map(toMember)).toEqual([
    {
      id: "1",
      name: "n1",
      peerUrls: ["http://10.0.0.1:7461"],
      adminUrls: ["http://10.0.0.1:7460"],
      role: MemberRole.VOTER,
      target: MemberTarget.VOTER,
      replaces: "",
      started: true,
      createRevision: 1n,
      updateRevision: 2n,
    },
    {
      id: "ab",
      name: "n171",
      peerUrls: ["http://10.0.0.171:7461"],
      adminUrls: [],
      role: MemberRole.LEARNER,
      target: MemberTarget.VOTER,
      replaces: "",
      started: false,
      createRevision: 3n,
      updateRevision: 3n,
    },
  ]);
});
