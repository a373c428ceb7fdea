/** What a publish says of the copy of the data directory that it comes from: MEMBER_ROLLED_BACK, and no new revision. */
import { Roster, publishCommand } from "../../src/roster/index";
import type { RosterCommand } from "../../src/roster/index";
import { CLUSTER_ID, accepted, apply, envelope, refused, rosterOf } from "./support/log";

const boot = (n: number): Uint8Array => new Uint8Array(16).fill(n);

function publish(bootId: number | null, previous: readonly number[] = [], version = "1.0.0"): RosterCommand {
  return publishCommand(envelope(), {
    id: 1n,
    instanceId: new Uint8Array(16).fill(1),
    adminUrls: ["http://10.0.0.1:7460"],
    version,
    ...(bootId === null ? {} : { bootId: boot(bootId), previousBootIds: previous.map(boot) }),
  });
}

let roster: Roster;
beforeEach(() => {
  roster = rosterOf(2);
  accepted(apply(roster, publish(10)).decision);
});

test("the first publish sets the boot id and its index", () => {
  expect(roster.member(1n)).toMatchObject({ bootId: Buffer.from(boot(10)), bootRevision: 3 });
});

test("the next start is accepted: it changes the boot id, and neither a revision nor an event", () => {
  const events = roster.eventsSince(0)?.length;
  const before = roster.member(1n);
  const result = apply(roster, publish(11, [10]));
  expect(accepted(result.decision)).toMatchObject({ changed: false, silent: true, revision: 3 });
  expect(result.confChange).toBeNull();
  expect([roster.revision, roster.eventsSince(0)?.length]).toEqual([3, events]);
  expect(roster.member(1n)).toEqual({ ...before, bootId: Buffer.from(boot(11)), bootRevision: 4 });
  expect(roster.members()[0]).toBe(roster.member(1n));
});

test("the same start again changes nothing, but its answer is remembered", () => {
  const before = roster.member(1n);
  expect(accepted(apply(roster, publish(10)).decision)).toMatchObject({ changed: false, silent: true });
  expect(roster.member(1n)).toBe(before);
});

test("what changes publicly has a revision as before", () => {
  const decision = accepted(apply(roster, publish(11, [10], "1.1.0")).decision);
  expect([decision.changed, decision.revision, roster.revision]).toEqual([true, 4, 4]);
  expect(roster.member(1n)?.bootRevision).toBe(4);
});

test.each([
  ["an older copy: it does not know the last start", () => publish(12, [9])],
  ["a copy without any start before", () => publish(12)],
  ["the start before, late", () => publish(9, [8])],
])("refused: %s", (_what, command) => {
  const before = roster.hash();
  const refusal = refused(apply(roster, command()).decision, "MEMBER_ROLLED_BACK");
  expect(refusal.message).toContain('member "n1" (id 1) runs from an older copy of its data directory');
  expect(refusal.metadata).toEqual({ id: "1", name: "n1" });
  expect(roster.hash()).toBe(before);
});

test("of an original and its copy, the one that published last wins", () => {
  accepted(apply(roster, publish(20, [10])).decision);
  refused(apply(roster, publish(21, [10])).decision, "MEMBER_ROLLED_BACK");
  accepted(apply(roster, publish(22, [20])).decision);
});

test("a start that was not committed in time may still be committed before the next", () => {
  accepted(apply(roster, publish(11, [10])).decision);
  accepted(apply(roster, publish(12, [10, 11])).decision);
});

test("a member of a version without boot ids is accepted, and does not erase what is known", () => {
  accepted(apply(roster, publish(null)).decision);
  expect(roster.member(1n)?.bootId).toEqual(Buffer.from(boot(10)));
  refused(apply(roster, publish(12)).decision, "MEMBER_ROLLED_BACK");
});

test("a snapshot keeps the boot ids", () => {
  const restored = Roster.restore(roster.snapshot(), { appliedIndex: roster.appliedIndex });
  expect(restored.clusterId).toBe(CLUSTER_ID);
  expect(restored.member(1n)).toMatchObject({ bootId: Buffer.from(boot(10)), bootRevision: 3 });
});
