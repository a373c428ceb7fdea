/** Calls that wait for an entry: each is settled once, by what became of its own entry. */
import { Waiters } from "../../src/replica/waiters";
import type { Decision } from "../../src/roster/index";

const DECISION: Decision = { accepted: true, repeated: false, changed: true, member: null, revision: 7 };
let waiters: Waiters;
let told: string[];
beforeEach(() => {
  waiters = new Waiters();
  told = [];
});

function wait(proposalId: bigint, index: number): void {
  waiters.add(proposalId, index, (outcome) => {
    const at = outcome.kind === "done" ? ` ${String(outcome.value.index)}` : "";
    told.push(`${String(proposalId)} ${outcome.kind}${at}`);
  });
}

test("the entry of its own proposal settles it, whichever is applied between", () => {
  wait(1n, 5);
  wait(2n, 6);
  waiters.applied(4, 9n, DECISION);
  expect(told).toEqual([]);
  expect(waiters.has(1n)).toBe(true);
  waiters.applied(5, 1n, DECISION);
  waiters.applied(6, 2n, DECISION);
  expect(told).toEqual(["1 done 5", "2 done 6"]);
  expect(waiters.size).toBe(0);
});

test("another entry at its index proves that it was not committed", () => {
  wait(1n, 5);
  wait(2n, 6);
  waiters.applied(5, 3n, DECISION);
  waiters.applied(6, null, null);
  expect(told).toEqual(["1 retry", "2 retry"]);
});

test("two that waited at one index: one of them is there", () => {
  wait(1n, 5);
  wait(2n, 5);
  waiters.applied(5, 2n, DECISION);
  expect(told.sort()).toEqual(["1 retry", "2 done 5"]);
});

test("one that gave up is told nothing, and the other at its index still is", () => {
  wait(1n, 5);
  wait(2n, 5);
  waiters.forget(1n);
  waiters.forget(77n);
  expect(waiters.has(1n)).toBe(false);
  expect(waiters.size).toBe(1);
  waiters.applied(5, 2n, DECISION);
  waiters.applied(5, 1n, DECISION);
  expect(told).toEqual(["2 done 5"]);
});

test("a snapshot leaves those at or below it without an answer, and the others waiting", () => {
  wait(1n, 5);
  wait(2n, 6);
  wait(3n, 7);
  waiters.installed(6);
  expect(told).toEqual(["1 unknown", "2 unknown"]);
  waiters.applied(7, 3n, DECISION);
  expect(told.at(-1)).toBe("3 done 7");
});

test("at the end all are told that nobody knows; once", () => {
  wait(1n, 5);
  wait(2n, 6);
  waiters.abandonAll();
  waiters.abandonAll();
  waiters.applied(5, 1n, DECISION);
  expect(told).toEqual(["1 unknown", "2 unknown"]);
});
