/** A repeated request gets the first outcome, also after a restore. */
import type { RosterCommand } from "../../src/roster/index";
import {
  accepted,
  add,
  adminUrls,
  apply,
  entryFor,
  move,
  refused,
  remove,
  request,
  restored,
  rosterOf,
} from "./support/log";
import type { Roster } from "../../src/roster/index";

/** Ways from the roster of the first use to that of the repeat. A repeat must get the same answer in each. */
const paths: [string, (roster: Roster) => Roster][] = [
  ["in the same roster", (roster) => roster],
  ["after a snapshot", (roster) => restored(roster)],
  ["after two snapshots", (roster) => restored(restored(roster))],
];

describe.each(paths)("a repeat %s", (_, pass) => {
  test.each<[string, RosterCommand, RosterCommand]>([
    ["an add", add(4, {}, request("r")), add(5, { name: "n4" }, request("r"))],
    ["a removal", remove({ name: "n3" }, "", request("r")), remove({ name: "n3" }, "", request("r"))],
    [
      "an update",
      move({ name: "n3" }, "http://b:1", request("r")),
      move({ name: "n3" }, "http://b:1", request("r")),
    ],
    [
      "admin URLs",
      adminUrls({ id: 1n }, ["http://a:1"], request("r")),
      adminUrls({ id: 1n }, ["http://a:1"], request("r")),
    ],
  ])("of %s that was accepted gives the first member and revision", (_name, command, repeat) => {
    const before = rosterOf(3);
    const first = accepted(apply(before, command).decision);
    accepted(apply(before, adminUrls({ id: 2n }, ["http://later:1"])).decision);
    const roster = pass(before);
    const hash = roster.hash();

    const result = apply(roster, repeat);
    expect(result.decision).toEqual({ ...first, repeated: true, changed: false });
    expect(result.confChange).toBeNull();
    expect(roster.evaluate(repeat)).toEqual(result.decision);
    expect(roster.outcome("r")).toEqual(result.decision);
    expect(roster.hash()).toBe(hash);
    expect(roster.revision).toBe(5);
  });

  test("that the leader proposes as a membership change does not change the core's configuration", () => {
    const before = rosterOf(3);
    accepted(apply(before, add(4, {}, request("r"))).decision);
    const roster = pass(before);
    const entry = entryFor(roster, add(5, { name: "n4" }, request("r")));
    expect(entry.confChange?.changes).toHaveLength(1);
    expect(roster.apply(entry)).toMatchObject({
      decision: { accepted: true, repeated: true, member: { id: 4n } },
      confChange: null,
    });
    expect(roster.member(5n)).toBeNull();
  });

  test.each<[string, RosterCommand]>([
    ["MEMBER_NAME_EXISTS", add(4, { name: "n1" }, request("r"))],
    ["MEMBER_NOT_FOUND", remove({ name: "x" }, "", request("r"))],
    ["MEMBER_MISMATCH", remove({ id: 1n, name: "n2" }, "", request("r"))],
    ["MEMBER_MISMATCH", remove({ id: 1n }, "http://10.0.0.2:7461", request("r"))],
    ["PEER_URL_EXISTS", move({ id: 1n }, "http://10.0.0.2:7461", request("r"))],
    ["REVISION_MISMATCH", add(4, {}, request("r", "content", { expectedRevision: 1 }))],
    ["INVALID_REQUEST", add(0, {}, request("r"))],
  ])("of a refused command gives the whole refusal again: %s", (reason, command) => {
    const before = rosterOf(3);
    const first = apply(before, command).decision;
    if (first.accepted) throw new Error("accepted");
    expect(first.refusal.reason).toBe(reason);
    // The command would be accepted now: the name is free, and the revision has changed.
    accepted(apply(before, remove({ id: 1n })).decision);
    const roster = pass(before);
    expect(apply(roster, command).decision).toEqual({ ...first, repeated: true });
  });

  test("with other content is refused before any other check, and the refusal is not remembered", () => {
    const before = rosterOf(3);
    accepted(apply(before, add(4, {}, request("r"))).decision);
    const roster = pass(before);
    const hash = roster.hash();
    const other = remove({ name: "x" }, "", request("r", "other", { expectedRevision: 1 }));
    expect(refused(apply(roster, other).decision, "REQUEST_ID_REUSED").metadata).toEqual({ request_id: "r" });
    expect(roster.hash()).toBe(hash);
    expect(accepted(apply(roster, add(4, {}, request("r"))).decision).member?.id).toBe(4n);
  });

  test("of a command that changed nothing gives the revision of the first answer", () => {
    const before = rosterOf(3);
    const same = move({ id: 1n }, "http://10.0.0.1:7461", request("r"));
    expect(accepted(apply(before, same).decision)).toMatchObject({ changed: false, revision: 3 });
    accepted(apply(before, move({ id: 1n }, "http://b:1")).decision);
    const roster = pass(before);
    expect(accepted(apply(roster, same).decision)).toMatchObject({
      changed: false,
      repeated: true,
      revision: 3,
    });
    expect(roster.member(1n)?.peerUrls).toEqual(["http://b:1"]);
  });
});

test("commands without a request id are decided each time", () => {
  const roster = rosterOf(3);
  refused(apply(roster, add(4, { name: "n1" })).decision, "MEMBER_NAME_EXISTS");
  accepted(apply(roster, remove({ name: "n1" })).decision);
  accepted(apply(roster, add(4, { name: "n1" })).decision);
  expect(roster.outcome("")).toBeNull();
});

describe("the memory of writes without a request id of their own is bounded", () => {
  const write = (roster: Roster, n: number) =>
    apply(roster, {
      ...adminUrls({ id: 1n }, [`http://a:${n}`], request(`r${n}`)),
      generatedRequestId: true,
    }).decision;

  test.each(paths)("and drops outcomes in the order of first use, %s", (_, pass) => {
    const limit = { outcomesLimit: 3 };
    let roster = rosterOf(1, limit);
    for (const n of [1, 2, 3]) accepted(write(roster, n));
    // A repeat does not move an outcome to the end of that order.
    expect(write(roster, 1).repeated).toBe(true);
    roster = pass(roster) === roster ? roster : restored(roster, limit);
    accepted(write(roster, 4));
    expect([1, 2, 3, 4].map((n) => roster.outcome(`r${n}`) !== null)).toEqual([false, true, true, true]);
    expect(write(roster, 1).repeated).toBe(false);
    expect([1, 2, 3, 4].map((n) => roster.outcome(`r${n}`) !== null)).toEqual([true, false, true, true]);
  });

  test("to ten thousand writes", () => {
    const roster = rosterOf(1);
    for (let n = 1; n <= 10_001; n++) write(roster, n);
    expect(roster.outcome("r1")).toBeNull();
    expect(roster.outcome("r2")).not.toBeNull();
    expect(roster.outcome("r10001")).not.toBeNull();
  });
});
