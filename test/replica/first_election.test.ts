/** A member that has just started: whether it campaigns at once. */
import { EMPTY_CONF_STATE, NO_NODE } from "../../src/raft/index";
import type { NodeId } from "../../src/raft/index";
import { FirstElection } from "../../src/replica/first_election";

const status =
  (id: NodeId, voters: NodeId[], leader = NO_NODE, votersOutgoing: NodeId[] = []) =>
  () => ({ id, leader, confState: { ...EMPTY_CONF_STATE, voters, votersOutgoing } });

test("the only voter campaigns without reaching anybody, once", () => {
  const first = new FirstElection();
  expect(first.isDue(status(1n, [1n]))).toBe(true);
  expect(first.isDue(status(1n, [1n]))).toBe(false);
});

test("the voter with the smallest id campaigns when a majority can hear it", () => {
  const first = new FirstElection();
  const five = status(1n, [1n, 2n, 3n, 4n, 5n]);
  first.reaches(2n);
  first.reaches(2n);
  first.reaches(9n);
  expect(first.isDue(five)).toBe(false);
  first.reaches(4n);
  expect(first.isDue(five)).toBe(true);
});

test.each([
  ["another voter than the first", status(2n, [1n, 2n, 3n])],
  ["a learner", status(1n, [2n, 3n])],
  ["a member of a joint configuration", status(1n, [1n, 2n, 3n], NO_NODE, [1n, 2n])],
])("%s waits for its timeout", (_, given) => {
  const first = new FirstElection();
  for (const id of [1n, 2n, 3n]) first.reaches(id);
  expect(first.isDue(given)).toBe(false);
});

test("a member that has heard a leader does not campaign, also when that one is lost", () => {
  const first = new FirstElection();
  first.reaches(2n);
  expect(first.isDue(status(1n, [1n, 2n, 3n], 3n))).toBe(false);
  expect(first.isDue(status(1n, [1n, 2n, 3n]))).toBe(false);
});
