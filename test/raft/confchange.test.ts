/**
 * Configuration changes: what they may and may not do, and that every way to one configuration is the same.
 */
import fc from "fast-check";
import {
  Changer,
  describeChanges,
  enterJointMode,
  leaveJointChange,
  restore,
} from "../../src/raft/confchange";
import type { ChangeResult } from "../../src/raft/confchange";
import { ProgressTracker } from "../../src/raft/tracker";
import type { TrackerConfig } from "../../src/raft/tracker";
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_BYTES,
  EMPTY_CONF_STATE,
  LOCAL_APPEND_THREAD,
} from "../../src/raft/types";
import type { ConfChange, ConfChangeSingle, ConfState } from "../../src/raft/types";

const single = fc.record({
  type: fc.constantFrom(
    ConfChangeType.AddVoter,
    ConfChangeType.AddVoter,
    ConfChangeType.AddLearner,
    ConfChangeType.Remove,
    ConfChangeType.Update,
  ),
  nodeId: fc.bigInt({ min: 0n, max: 7n }),
});
const changes = fc.array(single, { maxLength: 8 });
const groups = fc.array(single, { minLength: 1, maxLength: 12 });

const FIRST: ConfChangeSingle = { type: ConfChangeType.AddVoter, nodeId: 1n };

function install(tracker: ProgressTracker, result: ChangeResult): string | null {
  if (!result.ok) return result.error;
  tracker.install(result.config, result.progress);
  return null;
}

/** A group of at least one voter, grown one step at a time; refused steps are left out. */
function grow(steps: readonly ConfChangeSingle[]): ProgressTracker {
  const tracker = new ProgressTracker(16);
  for (const step of [FIRST, ...steps]) install(tracker, new Changer(tracker, 10).simple([step]));
  return tracker;
}

/** Everything that a configuration decides, as text. */
function describeTracker(tracker: ProgressTracker): string {
  const lines = [String(tracker.config)];
  tracker.visit((id, p) => lines.push(`${id}: ${String(p)}`));
  return lines.join("\n");
}

function changeOf(transition: ConfChangeTransition, ...steps: ConfChangeSingle[]): ConfChange {
  return { transition, changes: steps, context: EMPTY_BYTES };
}

/** The invariants of a configuration, written down a second time. */
function expectSound(config: TrackerConfig, tracker: ProgressTracker): void {
  const voters = config.voters.ids();
  expect([...tracker.progress.keys()].sort()).toEqual([...new Set([...voters, ...config.learners])].sort());
  expect(config.voters.incoming.size).toBeGreaterThan(0);
  for (const [id, p] of tracker.progress) expect(p.isLearner).toBe(config.learners.has(id));
  for (const id of voters) expect(config.learners.has(id)).toBe(false);
  for (const id of config.learnersNext) {
    expect(config.voters.outgoing.has(id) && !config.voters.incoming.has(id)).toBe(true);
  }
  if (!config.voters.isJoint) expect([config.learnersNext.size, config.autoLeave]).toEqual([0, false]);
}

describe("Changer", () => {
  test("a joint change equals the same steps one by one", () => {
    fc.assert(
      fc.property(groups, changes, (steps, wanted) => {
        const joint = grow(steps);
        const entered = install(joint, new Changer(joint, 10).enterJoint(false, wanted));
        const bySteps = grow(steps);
        // The order of steps may pass through no voters at all; a joint change only minds where it ends.
        const refusals = wanted.map((step) => install(bySteps, new Changer(bySteps, 10).simple([step])));
        fc.pre(refusals.every((refusal) => refusal === null));
        expect(entered).toBeNull();
        expectSound(joint.config, joint);
        expect(install(joint, new Changer(joint, 10).leaveJoint())).toBeNull();
        expect(describeTracker(joint)).toBe(describeTracker(bySteps));
      }),
      { numRuns: 1000 },
    );
  });

  test("any sequence of changes ends in a sound configuration, and a refused one leaves no trace", () => {
    const step = fc.tuple(fc.constantFrom("simple", "enter", "auto", "leave"), changes);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const tracker = grow([]);
        for (const [how, wanted] of steps) {
          const before = describeTracker(tracker);
          const changer = new Changer(tracker, 10);
          const result =
            how === "simple"
              ? changer.simple(wanted)
              : how === "leave"
                ? changer.leaveJoint()
                : changer.enterJoint(how === "auto", wanted);
          expect(describeTracker(tracker)).toBe(before);
          if (install(tracker, result) === null) expectSound(tracker.config, tracker);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("a simple change keeps old and new majorities overlapping", () => {
    fc.assert(
      fc.property(groups, changes, (steps, wanted) => {
        const tracker = grow(steps);
        const before = tracker.config.voters.incoming.clone();
        if (install(tracker, new Changer(tracker, 10).simple(wanted)) !== null) return;
        const after = tracker.config.voters.incoming;
        const all = [...new Set([...before.ids(), ...after.ids()])];
        const disjoint = (bits: number): boolean => {
          const inside = all.filter((_, i) => (bits >> i) & 1);
          const count = (of: typeof before, side: readonly bigint[]): number =>
            side.filter((id) => of.has(id)).length;
          const outside = all.filter((id) => !inside.includes(id));
          return count(before, inside) * 2 > before.size && count(after, outside) * 2 > after.size;
        };
        expect(Array.from({ length: 1 << all.length }, (_, bits) => bits).filter(disjoint)).toEqual([]);
      }),
    );
  });

  test("a member that changes its role keeps its progress; one that returns starts anew", () => {
    const tracker = grow([{ type: ConfChangeType.AddVoter, nodeId: 2n }]);
    tracker.progress.get(2n)?.maybeUpdate(42);
    const step = (type: ConfChangeType): string | undefined => {
      expect(install(tracker, new Changer(tracker, 50).simple([{ type, nodeId: 2n }]))).toBeNull();
      return tracker.progress.get(2n)?.toString();
    };
    expect(step(ConfChangeType.AddLearner)).toBe("StateProbe match=42 next=43 learner");
    expect(step(ConfChangeType.AddVoter)).toBe("StateProbe match=42 next=43");
    expect(step(ConfChangeType.Remove)).toBeUndefined();
    expect(step(ConfChangeType.AddVoter)).toBe("StateProbe match=0 next=50");
  });
});

describe("restore", () => {
  test("every configuration that a group reaches is rebuilt to itself", () => {
    fc.assert(
      fc.property(groups, changes, fc.boolean(), fc.boolean(), (steps, wanted, joint, autoLeave) => {
        const tracker = grow(steps);
        if (joint) install(tracker, new Changer(tracker, 10).enterJoint(autoLeave, wanted));
        const saved = tracker.confState();
        const fresh = new ProgressTracker(16);
        expect(install(fresh, restore(fresh, 10, saved))).toBeNull();
        expect(fresh.confState()).toEqual(saved);
        expectSound(fresh.config, fresh);
      }),
      { numRuns: 1000 },
    );
  });

  test("the empty state is a member that does not know its group yet", () => {
    const tracker = new ProgressTracker(16);
    expect(install(tracker, restore(tracker, 0, EMPTY_CONF_STATE))).toBeNull();
    expect([String(tracker.config), tracker.progress.size]).toEqual(["voters=()", 0]);
  });

  const broken: readonly [string, Partial<ConfState>][] = [
    ["learners without voters", { learners: [1n] }],
    ["the zero id", { voters: [1n, 0n] }],
    ["a reserved id", { voters: [1n, LOCAL_APPEND_THREAD] }],
    ["a voter twice", { voters: [1n, 1n] }],
    ["a voter that is a learner", { voters: [1n, 2n], learners: [2n] }],
    ["a next learner that never voted", { voters: [1n], votersOutgoing: [2n], learnersNext: [3n] }],
    ["a next learner that still votes", { voters: [1n, 2n], votersOutgoing: [2n], learnersNext: [2n] }],
    ["next learners without a joint configuration", { voters: [1n], learnersNext: [2n] }],
    ["autoleave without a joint configuration", { voters: [1n], autoLeave: true }],
    ["an outgoing half without an incoming one", { votersOutgoing: [1n] }],
    ["a learner that is an outgoing voter", { voters: [1n], votersOutgoing: [2n], learners: [2n] }],
  ];
  test.each(broken)("refuses %s", (_, parts) => {
    const result = restore(new ProgressTracker(16), 5, { ...EMPTY_CONF_STATE, ...parts });
    expect(result.ok).toBe(false);
  });

  test("any state is rebuilt to itself or refused, never changed in silence", () => {
    const ids = fc.array(fc.bigInt({ min: 0n, max: 5n }), { maxLength: 4 });
    const states = fc.record({
      voters: ids,
      learners: ids,
      votersOutgoing: ids,
      learnersNext: ids,
      autoLeave: fc.boolean(),
    });
    const sorted = (list: readonly bigint[]): bigint[] => [...list].sort();
    fc.assert(
      fc.property(states, (saved) => {
        const tracker = new ProgressTracker(16);
        if (install(tracker, restore(tracker, 5, saved)) !== null) return;
        const { voters, learners, votersOutgoing, learnersNext, autoLeave } = tracker.confState();
        expect([voters, learners, votersOutgoing, learnersNext, autoLeave]).toEqual([
          sorted(saved.voters),
          sorted(saved.learners),
          sorted(saved.votersOutgoing),
          sorted(saved.learnersNext),
          saved.autoLeave,
        ]);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("what a change asks for", () => {
  const { Auto, JointImplicit, JointExplicit } = ConfChangeTransition;
  const second: ConfChangeSingle = { type: ConfChangeType.Remove, nodeId: 2n };

  test.each([
    [Auto, 1, { joint: false, autoLeave: false }],
    [Auto, 2, { joint: true, autoLeave: true }],
    [JointImplicit, 1, { joint: true, autoLeave: true }],
    [JointImplicit, 0, { joint: true, autoLeave: true }],
    [JointExplicit, 1, { joint: true, autoLeave: false }],
    [JointExplicit, 2, { joint: true, autoLeave: false }],
  ])("transition %p with %p changes", (transition, count, mode) => {
    expect(enterJointMode(changeOf(transition, ...[FIRST, second].slice(0, count)))).toEqual(mode);
  });

  test("only an empty change without a transition leaves a joint configuration", () => {
    expect(leaveJointChange(changeOf(Auto))).toBe(true);
    expect(leaveJointChange(changeOf(Auto, FIRST))).toBe(false);
    expect(leaveJointChange(changeOf(JointImplicit))).toBe(false);
    expect(leaveJointChange(changeOf(JointExplicit))).toBe(false);
  });

  test("is printed as the scripts write it", () => {
    const { AddLearner, AddVoter, Remove, Update } = ConfChangeType;
    const list = [AddVoter, AddLearner, Remove, Update].map((type, i) => ({ type, nodeId: BigInt(i + 1) }));
    expect(describeChanges(list)).toBe("v1 l2 r3 u4");
    expect(describeChanges([])).toBe("");
  });
});
