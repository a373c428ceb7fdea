/** How long a removed member stays. */
import { Removal } from "../../src/replica/removal";

const ELECTION_TICKS = 10;

function after(known: readonly bigint[], voters: readonly bigint[], tick = 0): boolean {
  const removal = new Removal(0, ELECTION_TICKS);
  for (const id of known) removal.knows(id);
  return removal.isOver(tick, voters, false);
}

test.each([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 2],
  [5, 3],
  [7, 4],
])("of %i voters %i have to know, so that every majority has one that knows", (count, needed) => {
  const voters = Array.from({ length: count }, (_, i) => BigInt(i + 1));
  expect(after(voters.slice(0, needed - 1), voters)).toBe(false);
  expect(after(voters.slice(0, needed), voters)).toBe(true);
});

test("who is no voter does not count", () => {
  expect(after([8n, 9n], [1n, 2n])).toBe(false);
  const questions = new Removal(0, ELECTION_TICKS).questions([1n, 2n], 3n, 5);
  expect(questions.map(({ from, to, term }) => [from, to, term])).toEqual([
    [3n, 1n, 5],
    [3n, 2n, 5],
  ]);
});

test.each([
  ["that only heard of its removal", false, 10],
  ["that has applied its own removal", true, 3600],
])("for a member %s it is over, too, when nobody has asked for a while", (_what, applied, elections) => {
  const quietTicks = elections * ELECTION_TICKS;
  const removal = new Removal(5, ELECTION_TICKS);
  expect(removal.isOver(4 + quietTicks, [1n], applied)).toBe(false);
  removal.asked(100);
  expect(removal.isOver(99 + quietTicks, [1n], applied)).toBe(false);
  expect(removal.isOver(100 + quietTicks, [1n], applied)).toBe(true);
});

test("without another voter nobody is waited for", () => {
  expect(after([], [])).toBe(true);
});
