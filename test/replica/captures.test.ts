/** The state in slices: a bounded part of it in each turn, of one index whatever happens meanwhile, shared by its users. */
import type { Snapshot } from "../../src/raft/index";
import { Captures } from "../../src/replica/captures";
import { Machines } from "../../src/replica/machines";
import { RosterMachine } from "../../src/cluster/roster_machine";
import { silentLog } from "../../src/base/log";
import { CLUSTER_ID, add, apply, by, publish, remove, rosterOf } from "../roster/support/log";
import { COUNTER, Counter } from "./support/counter";
import { WorkQueue } from "./support/work_queue";

const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
const metaAt = (index: number) => ({ index, term: 1, confState });

let queue: WorkQueue;
let failures: unknown[];
let captures: Captures;

function start(bytesPerTurn: number): void {
  queue = new WorkQueue();
  failures = [];
  const guard = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      failures.push(error);
    }
  };
  captures = new Captures({ defer: queue.defer, guard, bytesPerTurn });
}

/** Ten pieces of ten bytes; counts those that were encoded. */
class Source {
  encoded = 0;
  *freeze(): Generator<Uint8Array, undefined> {
    for (; this.encoded < 10; this.encoded++) yield new Uint8Array(10).fill(this.encoded);
  }
}

beforeEach(() => start(25));

function take(index: number, source = new Source()) {
  const got: Snapshot[] = [];
  const release = captures.take(
    metaAt(index),
    () => source.freeze(),
    (snapshot) => got.push(snapshot),
  );
  return { got, release, source };
}

test("no turn encodes more than it may, and the data are whole", () => {
  const { got, source } = take(7);
  const seen = [source.encoded];
  while (got.length === 0) {
    queue.runOne();
    seen.push(source.encoded);
  }
  expect(seen.every((n, i) => n - (seen[i - 1] ?? 0) <= 3)).toBe(true);
  expect(got[0]?.meta.index).toBe(7);
  expect(Buffer.from(got[0]?.data ?? []).equals(Buffer.concat([...new Source().freeze()]))).toBe(true);
});

test("a small state is there at once", () => {
  start(1000);
  expect(take(7).got).toHaveLength(1);
});

test("callers at the same index share one capture, while it is made and while it is used", () => {
  const first = take(7);
  const second = take(7);
  queue.run();
  const third = take(7);
  expect([second.source.encoded, third.source.encoded]).toEqual([0, 0]);
  expect(second.got[0]).toBe(first.got[0]);
  expect(third.got[0]).toBe(first.got[0]);
  for (const { release } of [first, second, third]) release();
  const fourth = take(7);
  queue.run();
  expect(fourth.got[0]).not.toBe(first.got[0]);
});

test("a caller at a later index gets a capture of its own", () => {
  const first = take(7);
  const later = take(8);
  queue.run();
  expect([first.got[0]?.meta.index, later.got[0]?.meta.index]).toEqual([7, 8]);
  expect(later.source.encoded).toBe(10);
  // The older one is given up, and the newer one is still shared.
  first.release();
  expect(take(8).got[0]).toBe(later.got[0]);
});

test("one that nobody waits for any more is encoded no further", () => {
  const { got, release, source } = take(7);
  const before = source.encoded;
  release();
  release();
  queue.run();
  expect([source.encoded, got]).toEqual([before, []]);
});

test("an error of an encoder ends in the guard, and nothing goes on", () => {
  const broken = (): never => {
    throw new Error("no bytes");
  };
  captures.take(metaAt(7), () => ({ next: broken }), broken);
  queue.run();
  expect(failures).toEqual([new Error("no bytes")]);
});

test("the pieces of a frozen state are the bytes that it had, whatever is applied while they are encoded", () => {
  const roster = rosterOf(100);
  for (let n = 1; n <= 40; n++) apply(roster, publish(n));
  for (let n = 60; n <= 80; n++) apply(roster, remove(by({ id: BigInt(n) })));
  const expected = Buffer.from(roster.snapshot());
  const frozen = roster.freeze();
  const pieces: Uint8Array[] = [];
  for (let n = 0; ; n++) {
    const next = frozen.next();
    if (next.done === true) break;
    pieces.push(next.value);
    apply(roster, n === 0 ? add(200) : publish(50));
    apply(roster, n === 1 ? remove(by({ id: 1n })) : publish(41 + n));
  }
  expect(pieces.length).toBeGreaterThan(5);
  expect(Buffer.concat(pieces).equals(expected)).toBe(true);
  expect(Buffer.from(roster.snapshot()).equals(expected)).toBe(false);
});

test("with other machines the pieces are the same frame as the whole", () => {
  const membership = new RosterMachine({ clusterId: CLUSTER_ID, log: silentLog });
  for (const others of [new Map(), new Map([[COUNTER, new Counter()]])]) {
    const machines = new Machines(membership, others);
    const pieces: Uint8Array[] = [];
    const frozen = machines.freeze();
    for (let next = frozen.next(); next.done !== true; next = frozen.next()) pieces.push(next.value);
    expect(Buffer.concat(pieces).equals(Buffer.from(machines.capture()))).toBe(true);
  }
});
