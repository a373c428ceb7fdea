/** How long a removed member stays. */
import { Removal } from "../../src/replica/removal";

const ELECTION_TICKS = 10;

function after(known: readonly bigint[], voters: readonly bigint[], tick = 0): boolean {
  const removal = new Removal(0, ELECTION_TICKS);
  for (const id of known) removal.knows(id);
  return removal.isOver(tick, voters);
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
  expect(new Removal(0, ELECTION_TICKS).waitsFor([1n, 2n])).toEqual([1n, 2n]);
});

test("it is over, too, when nobody has asked for ten election timeouts", () => {
  const removal = new Removal(5, ELECTION_TICKS);
  expect(removal.isOver(104, [1n])).toBe(false);
  removal.asked(100);
  expect(removal.isOver(199, [1n])).toBe(false);
  expect(removal.isOver(200, [1n])).toBe(true);
});

test("without another voter nobody is waited for", () => {
  expect(after([], [])).toBe(true);
});
