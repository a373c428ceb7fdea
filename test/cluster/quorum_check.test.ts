/** The strict reconfiguration check as a table: who is there, how large the cluster gets, and the verdict. */
import { checkQuorumAfter } from "../../src/cluster/leader/quorum_check";
import type { VoterHealth } from "../../src/cluster/leader/quorum_check";

const ENOUGH = 20;

/** `s12`: started, in contact for 12 ticks; `u-`: not started, not in contact; `s*`: the leader. */
function voters(text: string): VoterHealth[] {
  return text
    .split(" ")
    .filter((word) => word !== "")
    .map((word, i) => {
      const contact = word.slice(1);
      return {
        id: BigInt(i + 1),
        name: `n${String(i + 1)}`,
        started: word.startsWith("s"),
        inContactTicks: contact === "*" ? Infinity : contact === "-" ? null : Number(contact),
      };
    });
}

const names = (list: readonly VoterHealth[]): string => list.map(({ name }) => name).join(",");

describe("verdicts", () => {
  test.each([
    // what, voters that stay, size after, verdict
    ["add to three healthy ones", "s* s20 s20", 4, "ok"],
    ["add to three, one of them away", "s* s20 s-", 4, "unhealthy 3 n3"],
    ["add to three, one of them in contact for too short", "s* s20 s19", 4, "wait 1 n3"],
    ["add to four, one away: three of five are enough", "s* s20 s20 s-", 5, "ok"],
    ["add to five, two away: four of six are needed", "s* s20 s20 s- s-", 6, "unhealthy 4 n4,n5"],
    ["add to two: both must be there", "s* s20", 3, "ok"],
    ["add to two, the other one away", "s* s-", 3, "unhealthy 2 n2"],
    ["a second add while the first never started", "s* s20 s20 u-", 5, "ok"],
    ["a third add while two never started", "s* s20 s20 u- u-", 6, "not-started 4 n4,n5"],
    ["remove one of three healthy ones", "s* s20", 2, "ok"],
    ["remove a healthy one while another is away", "s* s-", 2, "unhealthy 2 n2"],
    ["remove the one that is away", "s* s20", 2, "ok"],
    ["remove a started one while others never did", "s* s20 u- u-", 4, "not-started 3 n3,n4"],
    ["remove one that never started, of two", "s*", 1, "ok"],
    ["who started counts before who is in contact", "s* u- u-", 3, "not-started 2 n2,n3"],
    ["the shortest wait that is enough", "s* s1 s15 s18", 4, "wait 5 n4,n3,n2"],
    ["contact just now", "s* s0 s-", 3, "wait 20 n2,n3"],
    ["nobody is left", "", 0, "not-started 1 "],
  ])("%s", (_what, text, sizeAfter, expected) => {
    const result = checkQuorumAfter(voters(text), sizeAfter, ENOUGH);
    const described =
      result.kind === "ok"
        ? "ok"
        : `${result.kind} ${String(result.kind === "wait" ? result.ticks : result.needed)} ${names(result.blocking)}`;
    expect(described).toBe(expected);
  });
});

test("waiting as long as it says makes it pass", () => {
  for (let first = 0; first <= ENOUGH; first++) {
    for (let second = 0; second <= ENOUGH; second++) {
      const before = voters(`s* s${String(first)} s${String(second)}`);
      const result = checkQuorumAfter(before, 4, ENOUGH);
      const wait = result.kind === "wait" ? result.ticks : 0;
      const after = before.map((voter) => ({ ...voter, inContactTicks: (voter.inContactTicks ?? 0) + wait }));
      expect(checkQuorumAfter(after, 4, ENOUGH).kind).toBe("ok");
      if (wait === 0) continue;
      const early = before.map((voter) => ({
        ...voter,
        inContactTicks: (voter.inContactTicks ?? 0) + wait - 1,
      }));
      expect(checkQuorumAfter(early, 4, ENOUGH).kind).toBe("wait");
    }
  }
});
