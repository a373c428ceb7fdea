/** The settings of the cluster in the roster: what changes them, their events, snapshots, digests and restores. */
import { RosterSnapshot } from "../../src/generated/muster/storage/v1/snapshot";
import { MemberEventKind } from "../../src/generated/muster/v1/membership_service";
import {
  changeMembersCommand,
  confChange,
  decodeCommand,
  encodeCommand,
  needsConfChange,
  promoteMemberCommand,
  replaceMemberCommand,
  Roster,
  RosterEvent_Kind,
  RosterSnapshotError,
  toMemberEvent,
  toSettings,
  updateSettingsCommand,
  withSettings,
} from "../../src/roster/index";
import type { CommandEnvelope, RosterCommand, SettingsFields } from "../../src/roster/index";
import {
  accepted,
  add,
  adminUrls,
  apply,
  by,
  envelope,
  newMember,
  refused,
  request,
  restored,
  rosterOf,
  sha256,
} from "./support/log";

const NONE = { autoPromote: undefined, standbyTakeoverAfterMs: undefined, removeUnstartedAfterMs: undefined };
const set = (settings: Partial<SettingsFields>, head: CommandEnvelope = envelope()): RosterCommand =>
  updateSettingsCommand(head, { ...NONE, ...settings });
const DEFAULTS = {
  autoPromote: true,
  standbyTakeoverAfterMs: 0,
  removeUnstartedAfterMs: 0,
  updateRevision: 0,
};
const piecesOf = (roster: Roster): Buffer => Buffer.concat([...{ [Symbol.iterator]: () => roster.freeze() }]);

test("as long as nobody changes them: promotions, and nothing else", () => {
  expect(rosterOf(1).settings).toEqual(DEFAULTS);
});

test("only what is given changes, and each change is a revision", () => {
  const roster = rosterOf(1);
  const first = accepted(apply(roster, set({ standbyTakeoverAfterMs: 30_000 })).decision);
  expect(first).toMatchObject({ changed: true, member: null, revision: 2 });
  expect(roster.settings).toEqual({ ...DEFAULTS, standbyTakeoverAfterMs: 30_000, updateRevision: 2 });
  accepted(apply(roster, set({ autoPromote: false, removeUnstartedAfterMs: 1000 })).decision);
  accepted(apply(roster, set({ standbyTakeoverAfterMs: 0 })).decision);
  expect(roster.settings).toEqual({
    autoPromote: false,
    standbyTakeoverAfterMs: 0,
    removeUnstartedAfterMs: 1000,
    updateRevision: 4,
  });
  expect(roster.revision).toBe(4);
  expect(Object.isFrozen(roster.settings)).toBe(true);
});

test("what is so already changes nothing, also before anything was changed", () => {
  const roster = rosterOf(1);
  for (const command of [set({}), set({ autoPromote: true, standbyTakeoverAfterMs: 0 })]) {
    expect(accepted(apply(roster, command).decision)).toMatchObject({ changed: false, revision: 1 });
  }
  expect(RosterSnapshot.decode(roster.snapshot())).toMatchObject({ version: 1, settings: undefined });
  accepted(apply(roster, set({ autoPromote: false })).decision);
  expect(accepted(apply(roster, set({ autoPromote: false })).decision)).toMatchObject({ changed: false });
  expect(roster.settings.updateRevision).toBe(4);
});

test("an expected revision guards them, and a repeat changes nothing", () => {
  const roster = rosterOf(2);
  const stale = set({ autoPromote: false }, envelope({ expectedRevision: 1 }));
  refused(apply(roster, stale).decision, "REVISION_MISMATCH");
  const command = set({ autoPromote: false }, request("s1"));
  const { revision } = accepted(apply(roster, command).decision);
  accepted(apply(roster, set({ autoPromote: true })).decision);
  expect(accepted(apply(roster, command).decision)).toMatchObject({ repeated: true, revision });
  expect(roster.settings.autoPromote).toBe(true);
});

test("what the leader does by itself by some settings is refused under others, the first change included", () => {
  const roster = rosterOf(1);
  accepted(apply(roster, add(2, { learner: true })).decision);
  const promote = (settingsRevision: number): RosterCommand =>
    promoteMemberCommand(envelope({ settingsRevision }), { member: by({ id: 2n }) });
  const asNever = promote(0);
  expect(decodeCommand(encodeCommand(asNever)).expectedSettings).toEqual({ revision: 0 });
  accepted(apply(roster, set({ autoPromote: false })).decision);
  const refusal = refused(apply(roster, asNever).decision, "REVISION_MISMATCH");
  expect(refusal.metadata).toEqual({ revision: "3", expected_revision: "0" });
  // Other changes of the roster do not concern it.
  accepted(apply(roster, adminUrls({ id: 1n }, ["http://b:1"])).decision);
  accepted(apply(roster, promote(3)).decision);
  expect(roster.voters()).toEqual([1n, 2n]);
});

test("they are a normal entry, no membership change", () => {
  expect(needsConfChange(set({ autoPromote: false }))).toBe(false);
  expect(confChange(rosterOf(1), set({ autoPromote: false }))).toBeNull();
});

test("their event has the settings before and after, and no member", () => {
  const roster = rosterOf(1);
  const head = envelope({ caller: "ops", note: "why", requestId: "" });
  accepted(apply(roster, set({ standbyTakeoverAfterMs: 30_500 }, head)).decision);
  accepted(apply(roster, set({ autoPromote: false })).decision);
  const [first, second] = roster.eventsSince(1) ?? [];
  expect([first?.kind, second?.kind]).toEqual(Array(2).fill(RosterEvent_Kind.SETTINGS));
  const before = toSettings({ ...DEFAULTS });
  const between = { ...before, standbyTakeoverAfter: { seconds: 30n, nanos: 500_000_000 } };
  if (first === undefined || second === undefined) throw new Error("no events");
  expect(toMemberEvent(first)).toMatchObject({
    revision: 2n,
    kind: MemberEventKind.SETTINGS,
    member: undefined,
    previous: undefined,
    caller: "ops",
    note: "why",
    settings: between,
    previousSettings: before,
  });
  expect(toMemberEvent(second)).toMatchObject({
    settings: { ...between, autoPromote: false },
    previousSettings: between,
  });
  // An event of a member has none.
  expect(roster.eventsSince(0)?.slice(0, 1).map(toMemberEvent)).toMatchObject([
    { settings: undefined, previousSettings: undefined },
  ]);
});

test("withSettings keeps what is not given", () => {
  const settings = { ...DEFAULTS, removeUnstartedAfterMs: 7000 };
  expect(withSettings(settings, NONE)).toEqual(settings);
  expect(withSettings(settings, { ...NONE, removeUnstartedAfterMs: 0, autoPromote: false })).toEqual({
    ...DEFAULTS,
    autoPromote: false,
  });
});

describe("a snapshot", () => {
  const replaced = (roster: Roster): Roster => {
    const replacement = newMember(9, { learner: true });
    const command = replaceMemberCommand(envelope(), {
      member: by({ id: 1n }),
      peerUrl: "",
      replacement,
      sideBySide: true,
    });
    accepted(apply(roster, command).decision);
    return roster;
  };

  test.each<[string, (roster: Roster) => unknown]>([
    ["a setting that is true", (roster) => apply(roster, set({ standbyTakeoverAfterMs: 365 * 86_400_000 }))],
    ["a setting that is false", (roster) => apply(roster, set({ autoPromote: false }))],
    ["a member that replaces another", replaced],
  ])("with %s has version 2, comes back as it was, and in pieces as in one", (_, prepare) => {
    const roster = rosterOf(3);
    prepare(roster);
    const bytes = roster.snapshot();
    expect(RosterSnapshot.decode(bytes).version).toBe(2);
    expect(piecesOf(roster).equals(bytes)).toBe(true);
    const copy = restored(roster);
    expect(copy.settings).toEqual(roster.settings);
    expect(copy.members()).toEqual(roster.members());
    expect(copy.eventsSince(0)).toEqual(roster.eventsSince(0));
    expect(Buffer.from(copy.snapshot()).equals(bytes)).toBe(true);
  });

  test("settings that were changed back stay in it: the roster is not as one in which they never were", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, set({ autoPromote: false })).decision);
    accepted(apply(roster, set({ autoPromote: true })).decision);
    expect(RosterSnapshot.decode(roster.snapshot())).toMatchObject({
      version: 2,
      settings: { ...DEFAULTS, updateRevision: 3 },
    });
  });

  test("without settings, targets and replacements its bytes are those of version 1", () => {
    const roster = rosterOf(3);
    accepted(apply(roster, add(4, { learner: true })).decision);
    const promote = [by({ id: 4n })];
    accepted(
      apply(roster, changeMembersCommand(envelope(), { promote, demote: [], remove: [by({ id: 1n })] }))
        .decision,
    );
    const decoded = RosterSnapshot.decode(roster.snapshot());
    expect(decoded).toMatchObject({ version: 1, settings: undefined });
    expect(piecesOf(roster).equals(roster.snapshot())).toBe(true);
    expect(restored(roster).settings).toEqual(DEFAULTS);
  });

  test("with settings from after its revision is refused", () => {
    const roster = rosterOf(1);
    accepted(apply(roster, set({ autoPromote: false })).decision);
    const decoded = RosterSnapshot.decode(roster.snapshot());
    const bytes = RosterSnapshot.encode({
      ...decoded,
      settings: { ...DEFAULTS, updateRevision: 3 },
    }).finish();
    expect(() => Roster.restore(bytes, { appliedIndex: 9 })).toThrow(RosterSnapshotError);
    expect(() => Roster.restore(bytes, { appliedIndex: 9 })).toThrow("settings changed after revision 2");
  });
});

describe("the digest", () => {
  const founded = (): Roster => {
    const roster = new Roster({ clusterId: 0xc1n, sha256 });
    for (const n of [1, 2]) apply(roster, add(n));
    return roster;
  };
  const hexOf = (roster: Roster): string =>
    Buffer.from(roster.digests?.latest()?.digest ?? []).toString("hex");

  test("covers every setting and what a member replaces", () => {
    const beside = (id: bigint): RosterCommand =>
      replaceMemberCommand(envelope(), {
        member: by({ id }),
        peerUrl: "",
        replacement: newMember(9, { learner: true }),
        sideBySide: true,
      });
    const digests = [
      [],
      [set({ autoPromote: false })],
      [set({ standbyTakeoverAfterMs: 1000 })],
      [set({ removeUnstartedAfterMs: 1000 })],
      [set({ removeUnstartedAfterMs: 2000 })],
      // The same settings, changed later.
      [
        set({ autoPromote: false, removeUnstartedAfterMs: 5 }),
        set({ autoPromote: true, removeUnstartedAfterMs: 1000 }),
      ],
      [add(9, { learner: true })],
      [beside(1n)],
      [beside(2n)],
    ].map((commands) => {
      const roster = founded();
      for (const command of commands) accepted(apply(roster, command).decision);
      return hexOf(roster);
    });
    expect(new Set(digests).size).toBe(digests.length);
  });

  test("is that of the saved roster after a restore, and of every later change", () => {
    const roster = founded();
    for (let n = 0; n < 300; n++) accepted(apply(roster, set({ removeUnstartedAfterMs: 1000 + n })).decision);
    const copy = Roster.restore(roster.snapshot(), { appliedIndex: roster.appliedIndex, sha256 });
    expect(hexOf(copy)).toBe(hexOf(roster));
    for (const one of [roster, copy]) accepted(apply(one, set({ autoPromote: false })).decision);
    expect(hexOf(copy)).toBe(hexOf(roster));
    const told = roster.digests?.latest();
    if (told == null) throw new Error("no digest");
    expect(copy.digests?.compare(told, copy.appliedIndex)).toBe("same");
    accepted(apply(copy, set({ autoPromote: true })).decision);
    const other = copy.digests?.latest();
    accepted(apply(roster, set({ removeUnstartedAfterMs: 1 })).decision);
    expect(
      other === undefined || other === null ? "" : roster.digests?.compare(other, roster.appliedIndex),
    ).toBe("other");
  });
});
