/** Properties that hold for every history of commands, valid or not. */
import * as fc from "fast-check";
import { promoteMemberCommand, replaceMemberCommand, Roster } from "../../src/roster/index";
import type { CommandEnvelope, RosterCommand } from "../../src/roster/index";
import { ConfChangeType } from "../../src/raft/index";
import {
  add,
  adminUrls,
  apply,
  by,
  CLUSTER_ID,
  emptyEntry,
  envelope,
  move,
  newMember,
  publish,
  remove,
  request,
  restored,
} from "./support/log";

/** Few names, ids and URLs, so that they collide, and sometimes a text that validation would refuse. */
const id = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 9 }) },
  { weight: 1, arbitrary: fc.constant(0) },
);
const name = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 7 }).map((n) => `n${n}`) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 5 }) },
);
const url = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 9 }).map((n) => `http://10.0.0.${n}:7461`) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 5 }) },
);
const member = fc.oneof(
  name.map((n) => ({ name: n })),
  id.map((i) => ({ id: BigInt(i) })),
  fc.record({ id: id.map(BigInt), name }),
);
const head: fc.Arbitrary<CommandEnvelope> = fc.oneof(
  { weight: 4, arbitrary: fc.maxSafeNat().map((timeMs) => envelope({ timeMs })) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 12 }), fc.constantFrom("a", "b"), fc.constantFrom(0, 0, 0, 1, 5))
      .map(([n, content, expectedRevision]) => request(`r${n}`, content, { expectedRevision })),
  },
);
const added = fc.record({ id, name, peerUrl: url, learner: fc.boolean() });

const command: fc.Arbitrary<RosterCommand> = fc.oneof(
  fc
    .tuple(added, head)
    .map(([a, h]) => add(a.id, { name: a.name, peerUrl: a.peerUrl, learner: a.learner }, h)),
  fc.tuple(member, fc.oneof(fc.constant(""), url), head).map(([m, u, h]) => remove(m, u, h)),
  fc.tuple(member, url, head).map(([m, u, h]) => move(m, u, h)),
  fc.tuple(member, fc.array(url, { maxLength: 2 }), head).map(([m, urls, h]) => adminUrls(m, urls, h)),
  fc
    .tuple(id, fc.integer({ min: 1, max: 2 }), fc.array(url, { maxLength: 2 }))
    .map(([i, instance, urls]) => publish(i, instance, urls)),
  fc.tuple(member, head).map(([m, h]) => promoteMemberCommand(h, { member: by(m) })),
  fc.tuple(member, added, head).map(([m, a, h]) =>
    replaceMemberCommand(h, {
      member: by(m),
      peerUrl: "",
      replacement: newMember(a.id, { name: a.name, peerUrl: a.peerUrl, learner: a.learner }),
    }),
  ),
);
const LIMITS = { outcomesLimit: 6, eventsLimit: 8 };

/** A step is a command, or an entry without one. */
const history = fc.array(
  fc.oneof({ weight: 12, arbitrary: command }, { weight: 1, arbitrary: fc.constant(null) }),
  {
    minLength: 1,
    maxLength: 60,
  },
);

function bootstrapped(): Roster {
  const roster = new Roster({ clusterId: CLUSTER_ID, ...LIMITS });
  for (const n of [1, 2, 3]) apply(roster, add(n));
  return roster;
}

function step(roster: Roster, next: RosterCommand | null): unknown {
  return next === null ? roster.apply(emptyEntry(roster.appliedIndex + 1)) : apply(roster, next);
}

test("a roster that is restored from a snapshot at any index stays equal, in decisions and in bytes", () => {
  fc.assert(
    fc.property(history, fc.array(fc.nat(59), { maxLength: 3 }), (steps, cuts) => {
      const straight = bootstrapped();
      let resumed = bootstrapped();
      for (const [i, next] of steps.entries()) {
        if (cuts.includes(i)) resumed = restored(resumed, LIMITS);
        expect(step(resumed, next)).toEqual(step(straight, next));
        expect(Buffer.compare(resumed.snapshot(), straight.snapshot())).toBe(0);
      }
      expect(resumed.hash()).toBe(straight.hash());
      for (let revision = 0; revision <= straight.revision; revision++) {
        expect(resumed.eventsSince(revision)).toEqual(straight.eventsSince(revision));
      }
    }),
    { numRuns: 300 },
  );
});

test("every step keeps the roster's invariants", () => {
  fc.assert(
    fc.property(history, (steps) => {
      const roster = bootstrapped();
      const gone = new Set<bigint>();
      const startedOnce = new Set<bigint>();
      const voters = new Set(roster.voters());
      for (const next of steps) {
        const before = { revision: roster.revision, members: roster.members() };
        const early = next === null ? null : roster.evaluate(next);
        const result = next === null ? step(roster, next) : apply(roster, next);
        const members = roster.members();

        // The revision moves exactly with a change, to the index of the entry.
        const changed = before.members !== members;
        expect(roster.revision).toBe(changed ? roster.appliedIndex : before.revision);

        // Ids, names and peer URLs belong to one member; removed ids never return; `started` is never reset.
        expect(new Set(members.map((m) => m.name)).size).toBe(members.length);
        expect(new Set(members.map((m) => m.peerUrls.join())).size).toBe(members.length);
        for (const old of before.members) {
          if (roster.member(old.id) === null) gone.add(old.id);
        }
        for (const m of members) {
          expect(gone.has(m.id)).toBe(false);
          if (startedOnce.has(m.id)) expect(m.started).toBe(true);
          if (m.started) startedOnce.add(m.id);
        }
        for (const removed of gone) expect(roster.tombstone(removed)).not.toBeNull();

        // At least one voter remains, and the core's configuration equals the roster's.
        expect(roster.voters().length).toBeGreaterThan(0);
        if (typeof result === "object" && result !== null && "decision" in result) {
          const { decision, confChange } = result as ReturnType<typeof apply>;
          for (const { type, nodeId } of confChange?.changes ?? []) {
            if (type === ConfChangeType.AddVoter) voters.add(nodeId);
            if (type === ConfChangeType.Remove) voters.delete(nodeId);
          }
          expect(decision.accepted && decision.changed).toBe(changed);
          // evaluate() has given the same decision as apply().
          expect(early?.accepted).toBe(decision.accepted);
          expect(early?.repeated).toBe(decision.repeated);
          if (early?.accepted === false) expect(decision).toEqual(early);
          if (!decision.accepted) expect(decision.refusal.message).toMatch(/^[\x20-\x7e]+$/);
        }
        expect(new Set(roster.voters())).toEqual(voters);
      }
    }),
    { numRuns: 300 },
  );
});

test("a watch that resumes at any kept revision can rebuild the roster from the events", () => {
  fc.assert(
    fc.property(history, fc.nat(59), (steps, at) => {
      const roster = bootstrapped();
      let known = new Map<bigint, unknown>();
      let since = 0;
      for (const [i, next] of steps.entries()) {
        step(roster, next);
        if (i === at) {
          known = new Map(roster.members().map((m) => [m.id, m]));
          since = roster.revision;
        }
      }
      const events = roster.eventsSince(since);
      if (events === null) {
        expect(since).toBeLessThan(roster.oldestRevision);
        return;
      }
      for (const event of events) {
        if (event.member === undefined) throw new Error("event without member");
        if (event.kind === 4) known.delete(event.member.id);
        else known.set(event.member.id, event.member);
      }
      expect([...known.keys()].sort()).toEqual(
        roster
          .members()
          .map((m) => m.id)
          .sort(),
      );
      for (const m of roster.members()) expect(known.get(m.id)).toEqual(m);
    }),
    { numRuns: 200 },
  );
});
