/**
 * Progress, Inflights and the tracker that holds them.
 */
import fc from "fast-check";
import { Changer } from "../../src/raft/confchange";
import { VoteResult } from "../../src/raft/quorum";
import { ProgressState } from "../../src/raft/status";
import { Inflights, Progress, ProgressTracker } from "../../src/raft/tracker";
import { ConfChangeType } from "../../src/raft/types";
import type { NodeId } from "../../src/raft/types";

describe("Inflights", () => {
  test("frees what an acknowledgement covers, oldest first", () => {
    const window = new Inflights(10);
    for (let i = 0; i < 10; i++) window.add(i * 10, 100);
    expect([window.full(), window.count(), window.byteCount()]).toEqual([true, 10, 1000]);
    window.freeLE(45);
    expect([window.full(), window.count(), window.byteCount()]).toEqual([false, 5, 500]);
    window.freeLE(45);
    expect(window.count()).toBe(5);
    window.freeLE(90);
    expect([window.count(), window.byteCount()]).toEqual([0, 0]);
  });

  test("a message may cross the limit of bytes, the next one may not", () => {
    const window = new Inflights(10, 100);
    window.add(1, 99);
    expect(window.full()).toBe(false);
    window.add(2, 5000);
    expect(window.full()).toBe(true);
    expect(() => {
      window.add(3, 1);
    }).toThrow("full");
    window.freeLE(1);
    expect(window.full()).toBe(true);
    window.freeLE(2);
    expect(window.full()).toBe(false);
  });

  test.each([0, Infinity])("%p bytes means no limit", (maxBytes) => {
    const window = new Inflights(3, maxBytes);
    window.add(1, Number.MAX_SAFE_INTEGER / 4);
    expect(window.full()).toBe(false);
  });

  test("refuses an index that goes back, and a window of nothing", () => {
    const window = new Inflights(3);
    window.add(5, 0);
    expect(() => {
      window.add(4, 0);
    }).toThrow("inflight index 4 after 5");
    expect(() => new Inflights(0)).toThrow("window");
  });

  test("a clone and a reset share nothing with the original", () => {
    const window = new Inflights(4);
    window.add(1, 7);
    const copy = window.clone();
    window.reset();
    expect([window.count(), window.byteCount()]).toEqual([0, 0]);
    expect([copy.count(), copy.byteCount()]).toEqual([1, 7]);
    copy.freeLE(1);
    copy.add(2, 3);
    expect(window.count()).toBe(0);
  });

  test("behaves as a plain list would, through growth and wrap-around", () => {
    const step = fc.oneof(
      fc.record({ add: fc.integer({ min: 0, max: 3 }), bytes: fc.nat(50) }),
      fc.record({ free: fc.nat(12) }),
      fc.constant("reset" as const),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.array(step, { maxLength: 200 }), (size, steps) => {
        const window = new Inflights(size, 600);
        let model: { index: number; bytes: number }[] = [];
        let last = 0;
        for (const s of steps) {
          if (s === "reset") {
            window.reset();
            model = [];
          } else if ("add" in s) {
            if (window.full()) continue;
            last += s.add;
            window.add(last, s.bytes);
            model.push({ index: last, bytes: s.bytes });
          } else {
            const to = last - s.free;
            window.freeLE(to);
            model = model.filter(({ index }) => index > to);
          }
          const bytes = model.reduce((sum, m) => sum + m.bytes, 0);
          expect([window.count(), window.byteCount(), window.full()]).toEqual([
            model.length,
            bytes,
            model.length === size || bytes >= 600,
          ]);
        }
      }),
    );
  });
});

function progress(match: number, next: number): Progress {
  return new Progress(match, next, new Inflights(4), false, true);
}

describe("Progress", () => {
  test("prints what is set", () => {
    const p = new Progress(1, 2, new Inflights(1), true, false);
    expect(String(p)).toBe("StateProbe match=1 next=2 learner inactive");
    p.becomeSnapshot(7);
    expect(String(p)).toBe("StateSnapshot match=1 next=8 learner paused pendingSnap=7 inactive");
    p.isLearner = false;
    p.recentActive = true;
    p.becomeReplicate();
    p.sentEntries(2, 10);
    expect(String(p)).toBe("StateReplicate match=1 next=4 paused inflight=1[full]");
  });

  test("while probing, entries pause it until an answer; an empty message does not", () => {
    const p = progress(0, 5);
    p.sentEntries(0, 0);
    expect(p.isPaused()).toBe(false);
    p.sentEntries(3, 30);
    expect([p.isPaused(), p.next, p.inflights.count()]).toEqual([true, 5, 0]);
    expect(p.maybeUpdate(4)).toBe(true);
    expect([p.isPaused(), p.match, p.next]).toEqual([false, 4, 5]);
  });

  test("while replicating, next runs ahead until the window is full", () => {
    const p = progress(4, 9);
    p.becomeReplicate();
    expect(p.next).toBe(5);
    for (let i = 0; i < 4; i++) {
      expect(p.isPaused()).toBe(false);
      p.sentEntries(10, 1);
    }
    expect([p.isPaused(), p.next]).toEqual([true, 45]);
    expect(p.maybeUpdate(14)).toBe(true);
    p.inflights.freeLE(14);
    expect([p.isPaused(), p.next, p.inflights.count()]).toEqual([false, 45, 3]);
  });

  test("an empty append to a full window leaves it paused", () => {
    const p = progress(0, 1);
    p.becomeReplicate();
    for (let i = 0; i < 4; i++) p.sentEntries(1, 1);
    p.sentEntries(0, 0);
    expect([p.isPaused(), p.next]).toEqual([true, 5]);
  });

  test("no entries are sent into a snapshot", () => {
    const p = progress(0, 1);
    p.becomeSnapshot(10);
    expect(p.isPaused()).toBe(true);
    expect(() => {
      p.sentEntries(1, 1);
    }).toThrow("snapshot");
  });

  test("an acknowledgement that says nothing new changes nothing", () => {
    const p = progress(5, 8);
    p.msgAppFlowPaused = true;
    expect([p.maybeUpdate(5), p.maybeUpdate(4), p.match, p.next, p.isPaused()]).toEqual([
      false,
      false,
      5,
      8,
      true,
    ]);
  });

  test.each([
    // state, match, next, rejected, hint -> taken, next
    [ProgressState.Replicate, 5, 10, 5, 5, false, 10],
    [ProgressState.Replicate, 5, 10, 4, 4, false, 10],
    [ProgressState.Replicate, 5, 10, 9, 9, true, 6],
    [ProgressState.Probe, 0, 0, 0, 0, false, 0],
    [ProgressState.Probe, 0, 10, 5, 5, false, 10],
    [ProgressState.Probe, 0, 10, 9, 9, true, 9],
    [ProgressState.Probe, 0, 2, 1, 1, true, 1],
    [ProgressState.Probe, 0, 1, 0, 0, true, 1],
    [ProgressState.Probe, 0, 10, 9, 2, true, 3],
    [ProgressState.Probe, 0, 10, 9, 0, true, 1],
    [ProgressState.Probe, 4, 10, 9, 1, true, 5],
    [ProgressState.Snapshot, 4, 10, 7, 1, false, 10],
  ])(
    "in state %p with match=%p next=%p a rejection of %p (hint %p)",
    (state, match, next, rejected, hint, taken, to) => {
      const p = progress(match, next);
      p.state = state;
      expect(p.maybeDecrTo(rejected, hint)).toBe(taken);
      expect([p.match, p.next]).toEqual([match, to]);
    },
  );

  test("a snapshot that was installed is where probing goes on, one that failed is not", () => {
    const installed = progress(1, 2);
    installed.becomeSnapshot(10);
    installed.becomeProbe();
    expect([installed.state, installed.next, installed.pendingSnapshot]).toEqual([
      ProgressState.Probe,
      11,
      0,
    ]);
    const failed = progress(1, 2);
    failed.becomeSnapshot(10);
    failed.pendingSnapshot = 0;
    failed.becomeProbe();
    expect(failed.next).toBe(2);
  });

  test("the commit index is sent again only when it can have an effect", () => {
    const p = progress(0, 1);
    p.becomeReplicate();
    expect(p.canBumpCommit(5)).toBe(false);
    p.sentEntries(3, 3);
    expect(p.canBumpCommit(5)).toBe(true);
    p.bumpSentCommit(2);
    expect([p.canBumpCommit(2), p.canBumpCommit(3)]).toEqual([false, true]);
    p.bumpSentCommit(3);
    expect(p.canBumpCommit(9)).toBe(false);
  });

  test("going back takes back the commit index that a lost message may have carried", () => {
    const p = progress(2, 3);
    p.becomeReplicate();
    p.sentEntries(5, 5);
    p.bumpSentCommit(7);
    expect(p.maybeDecrTo(7, 0)).toBe(true);
    expect([p.next, p.sentCommit]).toEqual([3, 2]);
  });

  test("a restart forgets everything but the role", () => {
    const p = progress(5, 9);
    p.isLearner = true;
    p.becomeReplicate();
    p.sentEntries(2, 2);
    p.bumpSentCommit(6);
    p.restart(0, 4);
    expect(String(p)).toBe("StateProbe match=0 next=4 learner inactive");
    expect(p.sentCommit).toBe(0);
  });

  test("a clone shares nothing", () => {
    const p = progress(5, 9);
    p.becomeReplicate();
    p.sentEntries(1, 1);
    p.bumpSentCommit(5);
    const copy = p.clone();
    expect(copy).toEqual(p);
    copy.sentEntries(1, 1);
    copy.isLearner = true;
    expect(String(p)).toBe("StateReplicate match=5 next=7 inflight=1");
  });

  test("match stays below next whatever happens", () => {
    const index = fc.nat(30);
    const step = fc.oneof(
      fc.tuple(fc.constantFrom("update" as const, "sent" as const, "snapshot" as const), index, index),
      fc.tuple(fc.constantFrom("reject" as const, "probe" as const, "replicate" as const), index, index),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const p = progress(0, 1);
        for (const [what, a, b] of steps) {
          if (what === "update") p.maybeUpdate(a);
          else if (what === "sent" && !p.isPaused()) p.sentEntries(a % 4, b);
          else if (what === "snapshot" && a > p.match) p.becomeSnapshot(a);
          else if (what === "reject") {
            // As the leader does: what was on its way to a follower that rejects counts no more.
            if (p.maybeDecrTo(a, b) && p.state === ProgressState.Replicate) p.becomeProbe();
          } else if (what === "probe") p.becomeProbe();
          else if (what === "replicate") p.becomeReplicate();
          expect(p.match).toBeLessThan(p.next);
          expect(p.pendingSnapshot > 0).toBe(p.state === ProgressState.Snapshot);
        }
      }),
    );
  });
});

function trackerOf(voters: readonly NodeId[], learners: readonly NodeId[] = []): ProgressTracker {
  const tracker = new ProgressTracker(16, 0);
  const changes = [
    ...voters.map((nodeId) => ({ type: ConfChangeType.AddVoter, nodeId })),
    ...learners.map((nodeId) => ({ type: ConfChangeType.AddLearner, nodeId })),
  ];
  for (const change of changes) {
    const result = new Changer(tracker, 1).simple([change]);
    if (!result.ok) throw new Error(result.error);
    tracker.install(result.config, result.progress);
  }
  return tracker;
}

describe("ProgressTracker", () => {
  test("visits members in ascending order of id, as numbers", () => {
    const tracker = trackerOf([10n, 9n, 2n ** 63n, 1n], [100n]);
    const seen: NodeId[] = [];
    tracker.visit((id, p) => {
      expect(p).toBe(tracker.progress.get(id));
      seen.push(id);
    });
    expect(seen).toEqual([1n, 9n, 10n, 100n, 2n ** 63n]);
    expect(tracker.ids()).toEqual(seen);
    expect(tracker.voterNodes()).toEqual([1n, 9n, 10n, 2n ** 63n]);
    expect(tracker.learnerNodes()).toEqual([100n]);
  });

  test("learners count neither for commits nor for the quorum check nor for votes", () => {
    const tracker = trackerOf([1n, 2n, 3n], [4n, 5n]);
    tracker.visit((id, p) => {
      p.recentActive = id >= 3n;
      if (id >= 3n) p.maybeUpdate(9);
    });
    expect([tracker.committed(), tracker.quorumActive()]).toEqual([0, false]);
    for (const id of [3n, 4n, 5n]) tracker.recordVote(id, true);
    expect(tracker.tallyVotes()).toEqual({ granted: 1, rejected: 0, result: VoteResult.Pending });
    tracker.progress.get(2n)?.maybeUpdate(4);
    const second = tracker.progress.get(2n);
    if (second !== undefined) second.recentActive = true;
    expect([tracker.committed(), tracker.quorumActive()]).toEqual([4, true]);
  });

  test("a voter's first answer counts; a new election forgets it", () => {
    const tracker = trackerOf([1n, 2n, 3n]);
    tracker.recordVote(1n, true);
    tracker.recordVote(2n, false);
    tracker.recordVote(2n, true);
    expect(tracker.tallyVotes()).toEqual({ granted: 1, rejected: 1, result: VoteResult.Pending });
    tracker.recordVote(3n, true);
    expect(tracker.tallyVotes().result).toBe(VoteResult.Won);
    tracker.resetVotes();
    expect(tracker.tallyVotes()).toEqual({ granted: 0, rejected: 0, result: VoteResult.Pending });
  });

  test("a singleton is one voter that is not joint", () => {
    const tracker = trackerOf([1n], [2n]);
    expect(tracker.isSingleton()).toBe(true);
    const joint = new Changer(tracker, 1).enterJoint(true, []);
    if (!joint.ok) throw new Error(joint.error);
    tracker.install(joint.config, joint.progress);
    expect(tracker.isSingleton()).toBe(false);
    expect(trackerOf([1n, 2n]).isSingleton()).toBe(false);
    expect(trackerOf([]).isSingleton()).toBe(false);
  });

  test("prints configuration and members, and gives the state to save", () => {
    const tracker = trackerOf([1n, 2n], [3n]);
    const joint = new Changer(tracker, 7).enterJoint(true, [
      { type: ConfChangeType.AddLearner, nodeId: 1n },
      { type: ConfChangeType.AddVoter, nodeId: 4n },
    ]);
    if (!joint.ok) throw new Error(joint.error);
    tracker.install(joint.config, joint.progress);
    expect(String(tracker.config)).toBe("voters=(2 4)&&(1 2) learners=(3) learners_next=(1) autoleave");
    expect(tracker.confState()).toEqual({
      voters: [2n, 4n],
      learners: [3n],
      votersOutgoing: [1n, 2n],
      learnersNext: [1n],
      autoLeave: true,
    });
    const copy = tracker.config.clone();
    copy.learners.add(9n);
    copy.voters.incoming.add(9n);
    expect(String(tracker.config)).not.toContain("9");
  });
});
