/** Reads that share an RPC: which one a read joins, and that each keeps its own limits. */
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../src/client";
import { SharedRead } from "../../src/client/shared_read";
import type { ReadLimits } from "../../src/client/shared_read";
import { HeldClock } from "./support/held_clock";

interface Made {
  readonly limits: ReadLimits;
  answer(value: number): void;
  fail(error: Error): void;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let clock: HeldClock;
let made: Made[];
let shared: SharedRead<{ value: number }>;

beforeEach(() => {
  clock = new HeldClock();
  made = [];
  shared = new SharedRead(
    (limits) =>
      new Promise((resolve, reject) => {
        made.push({ limits, answer: (value) => resolve({ value }), fail: reject });
      }),
    clock,
  );
});

const read = (timeoutMs = 7000, signal?: AbortSignal): Promise<{ value: number }> =>
  shared.read({ timeoutMs, signal });

async function failure(call: Promise<unknown>): Promise<MusterError> {
  return call.then(
    () => Promise.reject(new Error("it succeeded")),
    (error: unknown) => error as MusterError,
  );
}

test("reads that begin while an RPC is under way share the one after it", async () => {
  const first = read();
  await turn();
  const later = [read(), read(), read()];
  await turn();
  expect(made).toHaveLength(1);
  made[0]?.answer(1);
  expect(await first).toEqual({ value: 1 });
  await turn();
  expect(made).toHaveLength(2);
  const latest = read();
  made[1]?.answer(2);
  expect(await Promise.all(later)).toEqual([{ value: 2 }, { value: 2 }, { value: 2 }]);
  await turn();
  made[2]?.answer(3);
  expect(await latest).toEqual({ value: 3 });
});

test("reads of one turn share one RPC, and each has a response of its own", async () => {
  const reads = [read(), read()];
  await turn();
  expect(made).toHaveLength(1);
  made[0]?.answer(1);
  const [one, two] = await Promise.all(reads);
  expect(one).toEqual(two);
  expect(one).not.toBe(two);
});

test("an RPC that hangs is waited for a moment, and no longer", async () => {
  const hanging = read();
  await turn();
  const later = read();
  await clock.pass();
  await turn();
  expect(made).toHaveLength(2);
  made[1]?.answer(2);
  expect(await later).toEqual({ value: 2 });
  // The one that hangs does not delay those after it.
  const latest = read();
  await turn();
  expect(made).toHaveLength(3);
  for (const one of made) one.answer(3);
  await Promise.all([hanging, latest]);
});

test("a failure is that of every read that shares the RPC", async () => {
  const reads = [read(), read()];
  await turn();
  const error = new MusterError({ code: status.UNAVAILABLE, message: "no quorum" });
  made[0]?.fail(error);
  expect(await Promise.all(reads.map(failure))).toEqual([error, error]);
  const next = read();
  await turn();
  made[1]?.answer(1);
  expect(await next).toEqual({ value: 1 });
});

describe("signals", () => {
  test("one reader that leaves does not end the RPC of the others; the last one does", async () => {
    const [one, two] = [new AbortController(), new AbortController()];
    const reads = [failure(read(7000, one.signal)), failure(read(7000, two.signal))];
    await turn();
    one.abort();
    expect(await reads[0]).toMatchObject({
      code: status.CANCELLED,
      message: "the caller cancelled the call",
    });
    expect(made[0]?.limits.signal?.aborted).toBe(false);
    two.abort();
    expect(await reads[1]).toMatchObject({ code: status.CANCELLED });
    expect(made[0]?.limits.signal?.aborted).toBe(true);
  });

  test("without anybody left no RPC is made", async () => {
    const first = read();
    await turn();
    const abort = new AbortController();
    const waiting = failure(read(7000, abort.signal));
    abort.abort();
    expect((await waiting).code).toBe(status.CANCELLED);
    made[0]?.answer(1);
    await first;
    await turn();
    expect(made).toHaveLength(1);
    expect((await failure(read(7000, abort.signal))).code).toBe(status.CANCELLED);
  });
});

describe("deadlines", () => {
  test("the RPC has that of its most patient reader, and the others keep theirs", async () => {
    const [short, long] = [failure(read(30)), read(500)];
    await turn();
    expect(made[0]?.limits.timeoutMs).toBe(500);
    await clock.pass();
    expect(await short).toMatchObject({ code: status.DEADLINE_EXCEEDED, message: "no answer within 30 ms" });
    expect(made[0]?.limits.signal?.aborted).toBe(false);
    made[0]?.answer(1);
    expect(await long).toEqual({ value: 1 });
  });

  test("a short one also ends while the RPC before is under way", async () => {
    const first = read();
    await turn();
    const short = failure(read(30));
    await clock.pass();
    expect((await short).code).toBe(status.DEADLINE_EXCEEDED);
    made[0]?.answer(1);
    await first;
  });
});
