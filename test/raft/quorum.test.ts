/**
 * Quorums against a second algorithm and against what must hold of any two halves.
 */
import fc from "fast-check";
import { JointConfig, MajorityConfig, majorityOf, MAX_INDEX, VoteResult } from "../../src/raft/quorum";
import type { NodeId } from "../../src/raft/types";
import { naiveCommittedIndex } from "./support/naive_quorum";

const voters = fc.uniqueArray(fc.bigInt({ min: 1n, max: 12n }), { maxLength: 9 });
const acks = fc
  .array(fc.tuple(fc.bigInt({ min: 1n, max: 12n }), fc.nat(20)))
  .map((pairs) => new Map<NodeId, number>(pairs));
const ballots = fc
  .array(fc.tuple(fc.bigInt({ min: 1n, max: 12n }), fc.boolean()))
  .map((pairs) => new Map<NodeId, boolean>(pairs));

/** Straight from the definition: can the missing votes still make, or prevent, a majority? */
function naiveVote(config: MajorityConfig, votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  const wins = (missingSays: boolean): boolean =>
    config.size === 0 || config.ids().filter((id) => votes.get(id) ?? missingSays).length * 2 > config.size;
  if (wins(false)) return VoteResult.Won;
  return wins(true) ? VoteResult.Pending : VoteResult.Lost;
}

describe("MajorityConfig", () => {
  test("keeps ids ascending and unique, whatever the order of arrival", () => {
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: 1n, max: 2n ** 64n - 3n })), (ids) => {
        const config = new MajorityConfig(ids);
        const expected = [...new Set(ids)].sort((a, b) => (a < b ? -1 : 1));
        expect(config.ids()).toEqual(expected);
        expect(config.size).toBe(expected.length);
        expect(ids.every((id) => config.has(id))).toBe(true);
      }),
    );
  });

  test("a clone shares nothing", () => {
    const config = new MajorityConfig([3n, 1n]);
    const copy = config.clone();
    copy.add(2n);
    copy.delete(1n);
    copy.delete(9n);
    expect(String(config)).toBe("(1 3)");
    expect(String(copy)).toBe("(2 3)");
  });

  test("majorities of 1 to 7", () => {
    expect([1, 2, 3, 4, 5, 6, 7].map(majorityOf)).toEqual([1, 2, 2, 3, 3, 4, 4]);
  });

  test("the empty set commits everything and wins every vote", () => {
    const empty = new MajorityConfig();
    expect(empty.committedIndex(() => 7)).toBe(MAX_INDEX);
    expect(empty.voteResult(new Map([[1n, false]]))).toBe(VoteResult.Won);
    expect(String(empty)).toBe("()");
  });

  test("the committed index agrees with the definition", () => {
    fc.assert(
      fc.property(voters, acks, (ids, acked) => {
        const config = new MajorityConfig(ids);
        expect(config.committedIndex((id) => acked.get(id))).toBe(naiveCommittedIndex(config, acked));
      }),
      { numRuns: 2000 },
    );
  });

  test("the vote result agrees with the definition", () => {
    fc.assert(
      fc.property(voters, ballots, (ids, votes) => {
        const config = new MajorityConfig(ids);
        expect(config.voteResult(votes)).toBe(naiveVote(config, votes));
      }),
      { numRuns: 2000 },
    );
  });

  test("an acknowledgement never lowers the committed index", () => {
    fc.assert(
      fc.property(voters, acks, fc.bigInt({ min: 1n, max: 12n }), fc.nat(20), (ids, acked, id, rise) => {
        const config = new MajorityConfig(ids);
        const before = config.committedIndex((voter) => acked.get(voter));
        acked.set(id, (acked.get(id) ?? 0) + rise);
        expect(config.committedIndex((voter) => acked.get(voter))).toBeGreaterThanOrEqual(before);
      }),
    );
  });
});

describe("JointConfig", () => {
  test("an empty outgoing half changes nothing", () => {
    fc.assert(
      fc.property(voters, acks, ballots, (ids, acked, votes) => {
        const majority = new MajorityConfig(ids);
        const joint = new JointConfig(majority);
        expect(joint.isJoint).toBe(false);
        expect(joint.committedIndex((id) => acked.get(id))).toBe(
          majority.committedIndex((id) => acked.get(id)),
        );
        expect(joint.voteResult(votes)).toBe(majority.voteResult(votes));
        expect(joint.ids()).toEqual(majority.ids());
        expect(String(joint)).toBe(String(majority));
      }),
    );
  });

  test("a half joint with itself changes nothing", () => {
    fc.assert(
      fc.property(voters, acks, ballots, (ids, acked, votes) => {
        const majority = new MajorityConfig(ids);
        const joint = new JointConfig(majority, majority.clone());
        expect(joint.committedIndex((id) => acked.get(id))).toBe(
          majority.committedIndex((id) => acked.get(id)),
        );
        expect(joint.voteResult(votes)).toBe(majority.voteResult(votes));
      }),
    );
  });

  test("the halves are interchangeable", () => {
    fc.assert(
      fc.property(voters, voters, acks, ballots, (a, b, acked, votes) => {
        const joint = new JointConfig(new MajorityConfig(a), new MajorityConfig(b));
        const swapped = new JointConfig(new MajorityConfig(b), new MajorityConfig(a));
        expect(joint.committedIndex((id) => acked.get(id))).toBe(
          swapped.committedIndex((id) => acked.get(id)),
        );
        expect(joint.voteResult(votes)).toBe(swapped.voteResult(votes));
        expect(joint.ids()).toEqual(swapped.ids());
      }),
    );
  });

  test("agrees with the definition: both halves must agree, one alone can refuse", () => {
    fc.assert(
      fc.property(voters, voters, acks, ballots, (a, b, acked, votes) => {
        const halves = [new MajorityConfig(a), new MajorityConfig(b)] as const;
        const joint = new JointConfig(...halves);
        expect(joint.committedIndex((id) => acked.get(id))).toBe(
          Math.min(...halves.map((half) => naiveCommittedIndex(half, acked))),
        );
        const results = halves.map((half) => naiveVote(half, votes));
        const expected = results.every((result) => result === VoteResult.Won)
          ? VoteResult.Won
          : results.includes(VoteResult.Lost)
            ? VoteResult.Lost
            : VoteResult.Pending;
        expect(joint.voteResult(votes)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });

  test("two quorums of one joint configuration always share a voter in each half", () => {
    fc.assert(
      fc.property(voters, voters, ballots, (a, b, votes) => {
        fc.pre(a.length > 0 || b.length > 0);
        const joint = new JointConfig(new MajorityConfig(a), new MajorityConfig(b));
        const opposite = new Map(joint.ids().map((id) => [id, votes.get(id) !== true] as const));
        const both =
          joint.voteResult(votes) === VoteResult.Won && joint.voteResult(opposite) === VoteResult.Won;
        expect(both).toBe(false);
      }),
    );
  });

  test("a clone shares nothing", () => {
    const joint = new JointConfig(new MajorityConfig([1n, 2n]), new MajorityConfig([1n]));
    const copy = joint.clone();
    copy.incoming.delete(1n);
    copy.outgoing.add(5n);
    expect(String(joint)).toBe("(1 2)&&(1)");
    expect(String(copy)).toBe("(2)&&(1 5)");
    expect(copy.has(5n) && copy.has(2n) && !copy.has(7n)).toBe(true);
  });
});
