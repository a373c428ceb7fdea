/** The queue of linearizable reads: many reads to a round, no round serves a read that came after it, no context twice. */
import { ReadRounds } from "../../src/replica/read_rounds";

const RETRY_TICKS = 5;
let queue: ReadRounds;
let contexts: bigint[];
let done: string[];
let hasLeader: boolean;
beforeEach(() => {
  queue = new ReadRounds(100n, RETRY_TICKS);
  contexts = [];
  done = [];
  hasLeader = true;
});

const read = (name: string) => queue.add(() => done.push(name));
const pump = (tick: number): void => {
  queue.pump(tick, (context) => {
    contexts.push(context);
    return hasLeader;
  });
};
const confirm = (context: bigint, index: number): void => {
  queue.onReadStates([{ index, context }]);
};

test("all that wait share one round, and are answered once its index is applied", () => {
  read("a");
  read("b");
  pump(0);
  expect(contexts).toEqual([100n]);
  confirm(100n, 7);
  queue.onApplied(6);
  expect(done).toEqual([]);
  queue.onApplied(7);
  queue.onApplied(8);
  expect(done).toEqual(["a", "b"]);
});

test("a read that comes during a round waits for the next one", () => {
  read("a");
  pump(0);
  read("b");
  pump(0);
  expect(contexts).toEqual([100n]);
  confirm(100n, 7);
  queue.onApplied(7);
  expect(done).toEqual(["a"]);
  pump(0);
  expect(contexts).toEqual([100n, 101n]);
  confirm(101n, 7);
  queue.onApplied(7);
  expect(done).toEqual(["a", "b"]);
});

test("a round without answer is begun anew with another context; its late answer serves nobody", () => {
  read("a");
  pump(0);
  queue.tick(RETRY_TICKS - 1);
  pump(RETRY_TICKS - 1);
  expect(contexts).toEqual([100n]);
  queue.tick(RETRY_TICKS);
  read("b");
  pump(RETRY_TICKS);
  expect(contexts).toEqual([100n, 101n]);
  confirm(100n, 3);
  queue.onApplied(10);
  expect(done).toEqual([]);
  confirm(101n, 4);
  queue.onApplied(10);
  expect(done).toEqual(["a", "b"]);
});

test("a change of leader begins the round anew", () => {
  read("a");
  pump(0);
  queue.restart();
  pump(0);
  expect(contexts).toEqual([100n, 101n]);
});

test("without a leader reads wait, and no context is used twice", () => {
  hasLeader = false;
  read("a");
  pump(0);
  pump(1);
  hasLeader = true;
  pump(2);
  expect(new Set(contexts).size).toBe(3);
  confirm(contexts[2] ?? 0n, 1);
  queue.onApplied(1);
  expect(done).toEqual(["a"]);
});

test("the context after the last one is not 0, which means none", () => {
  queue = new ReadRounds(2n ** 64n - 1n, RETRY_TICKS);
  read("a");
  pump(0);
  confirm(contexts[0] ?? 0n, 1);
  queue.onApplied(1);
  read("b");
  pump(0);
  expect(contexts).toEqual([2n ** 64n - 1n, 1n]);
});

test("one that gave up is not answered, wherever it waited; nobody asks for it alone", () => {
  read("before").cancel();
  pump(0);
  expect(contexts).toEqual([]);
  const inRound = read("in the round");
  const confirmed = read("confirmed");
  const kept = read("kept");
  pump(0);
  inRound.cancel();
  confirm(100n, 5);
  confirmed.cancel();
  expect(kept.confirmed).toBe(true);
  queue.onApplied(5);
  expect(done).toEqual(["kept"]);
  expect(queue.size).toBe(0);
});
