/** One call as its handler sees it: when its caller's going away is reported, to whom, and until when. */
import { ANONYMOUS, OpenCall } from "../../src/base/call";
import type { OpenCallOptions } from "../../src/base/call";
import { Deadline } from "../../src/base/deadline";
import { ManualClock } from "./support/manual_clock";

const deadline = Deadline.of(new ManualClock(), 1000, 1000);

function openCall(options: Partial<OpenCallOptions> = {}): OpenCall {
  return new OpenCall({ method: "AddMember", deadline, ...options });
}

describe("onCancel", () => {
  test("calls every function that waits, once each, in order", () => {
    const call = openCall();
    const called: string[] = [];
    call.onCancel(() => called.push("a"));
    call.onCancel(() => called.push("b"));
    expect([call.cancelled, called]).toEqual([false, []]);
    call.cancel();
    call.cancel();
    expect([call.cancelled, called]).toEqual([true, ["a", "b"]]);
  });

  test("gives back what takes its own function back, and no other", () => {
    const call = openCall();
    const called: string[] = [];
    const undo = call.onCancel(() => called.push("a"));
    call.onCancel(() => called.push("b"));
    undo();
    undo();
    call.cancel();
    undo();
    expect(called).toEqual(["b"]);
  });

  test("knows the call as cancelled inside the function", () => {
    const call = openCall();
    let seen = false;
    call.onCancel(() => {
      seen = call.cancelled;
    });
    call.cancel();
    expect(seen).toBe(true);
  });

  test("a function may take back one that has not been called yet", () => {
    const call = openCall();
    const called: string[] = [];
    const undo: (() => void)[] = [];
    call.onCancel(() => {
      called.push("a");
      undo[0]?.();
    });
    undo.push(call.onCancel(() => called.push("b")));
    call.onCancel(() => called.push("c"));
    call.cancel();
    expect(called).toEqual(["a", "c"]);
  });

  test("calls at once when the caller has gone already; to take it back then does nothing", () => {
    const call = openCall();
    call.cancel();
    let called = 0;
    const undo = call.onCancel(() => called++);
    expect(called).toBe(1);
    undo();
    call.cancel();
    expect(called).toBe(1);
  });
});

describe("a call that is finished", () => {
  test("is not cancelled any more", () => {
    const call = openCall();
    let called = 0;
    call.onCancel(() => called++);
    call.finish();
    call.cancel();
    expect([call.cancelled, called]).toEqual([false, 0]);
  });

  test("calls nothing that comes later, cancelled before or not", () => {
    for (const isCancelled of [false, true]) {
      const call = openCall();
      if (isCancelled) call.cancel();
      call.finish();
      let called = 0;
      call.onCancel(() => called++)();
      call.cancel();
      expect([call.cancelled, called]).toEqual([isCancelled, 0]);
    }
  });
});

describe("headers", () => {
  test("are read once, and only when they are needed", () => {
    let reads = 0;
    const call = openCall({
      headers: () => {
        reads++;
        return new Map([["a", "b"]]);
      },
    });
    expect(reads).toBe(0);
    expect([call.headers.get("a"), call.headers.get("a"), call.mayForward, reads]).toEqual([
      "b",
      "b",
      true,
      1,
    ]);
  });

  test.each([
    ["never", false],
    ["always", true],
    ["", true],
    // One that came twice has its values joined.
    ["never, never", false],
    ["always,never", false],
    ["nevermore", true],
  ])("muster-forward: %p: may forward is %p", (value, mayForward) => {
    expect(openCall({ headers: () => new Map([["muster-forward", value]]) }).mayForward).toBe(mayForward);
  });
});

test("without headers and caller: none, and the anonymous one", () => {
  const call = openCall();
  expect([call.method, call.deadline, [...call.headers], call.mayForward, call.caller]).toEqual([
    "AddMember",
    deadline,
    [],
    true,
    ANONYMOUS,
  ]);
  expect(openCall({ caller: { name: "ann" } }).caller.name).toBe("ann");
});
