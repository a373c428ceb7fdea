/** Proposals on their way into the log: together, in order, and each settled or handed on once. */
import type { ProposeResult } from "../../src/raft/index";
import { ProposalQueue } from "../../src/replica/proposal_queue";
import { Waiters } from "../../src/replica/waiters";

let waiters: Waiters;
let queue: ProposalQueue;
let settled: string[];
beforeEach(() => {
  waiters = new Waiters();
  queue = new ProposalQueue(waiters);
  settled = [];
});

function add(...ids: bigint[]): void {
  for (const id of ids) {
    queue.add({
      id,
      data: Uint8Array.of(Number(id)),
      settle: ({ kind }) => settled.push(`${String(id)} ${kind}`),
    });
  }
}

/** Appends with this result. @returns the entries that the core was given; null when it was not asked */
function appendAll(result: ProposeResult): number[] | null {
  let given: number[] | null = null;
  queue.appendAll((entries) => {
    given = entries.map(([first]) => first ?? -1);
    return result;
  });
  return given;
}

const APPENDED: ProposeResult = { ok: true, index: 20, term: 3 };

test("those of one turn are appended together, and wait at consecutive indexes", () => {
  add(1n, 2n, 3n);
  expect(appendAll(APPENDED)).toEqual([1, 2, 3]);
  expect([queue.size, waiters.size, settled]).toEqual([0, 3, []]);
  waiters.applied(21, 2n, null);
  waiters.applied(20, 9n, null);
  expect(settled).toEqual(["2 done", "1 retry"]);
});

test("an empty queue does not ask the core", () => {
  expect(appendAll(APPENDED)).toBeNull();
});

test.each(["uncommitted-size", "transferring"] as const)("they wait while the core says %s", (reason) => {
  add(1n, 2n);
  expect(appendAll({ ok: false, reason })).toEqual([1, 2]);
  add(3n);
  expect([queue.size, waiters.size, settled]).toEqual([3, 0, []]);
  expect(appendAll(APPENDED)).toEqual([1, 2, 3]);
});

test.each(["not-leader", "removed"] as const)("they end as not appended when the core says %s", (reason) => {
  add(1n, 2n);
  appendAll({ ok: false, reason });
  expect([queue.size, waiters.size, settled]).toEqual([0, 0, ["1 retry", "2 retry"]]);
});

test("one that was withdrawn is neither appended nor settled", () => {
  add(1n, 2n, 3n);
  expect(queue.withdraw(2n)).toBe(true);
  expect(queue.withdraw(2n)).toBe(false);
  expect(appendAll(APPENDED)).toEqual([1, 3]);
  expect(queue.withdraw(1n)).toBe(false);
  expect(settled).toEqual([]);
});

test("all are refused as not appended, once", () => {
  add(1n, 2n);
  queue.refuseAll();
  queue.refuseAll();
  expect(settled).toEqual(["1 retry", "2 retry"]);
  expect(appendAll(APPENDED)).toBeNull();
});
