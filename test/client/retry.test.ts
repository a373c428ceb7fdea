/** Which failures are repeated, and how the caller's time is divided. */
import { status } from "@grpc/grpc-js";
import { MusterError } from "../../src/client";
import { attemptMinMs, attemptMs, isRepeatable, mayHaveHappened, pauseMs } from "../../src/client/retry";

const error = (code: status, reason?: string, extra: object = {}): MusterError =>
  new MusterError({ code, reason, message: "text", ...extra });

describe("isRepeatable", () => {
  test.each([
    [status.UNAVAILABLE, "NO_LEADER"],
    [status.UNAVAILABLE, "NO_QUORUM"],
    [status.UNAVAILABLE, "SERVER_STOPPING"],
    [status.UNAVAILABLE, "A_REASON_OF_A_NEWER_SERVER"],
    [status.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN"],
    [status.DEADLINE_EXCEEDED, "NOT_PROPOSED"],
    [status.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS"],
    [status.UNAVAILABLE, undefined],
    [status.DEADLINE_EXCEEDED, undefined],
    [status.CANCELLED, undefined],
  ])("%s %s: yes", (code, reason) => {
    expect(isRepeatable(error(code, reason))).toBe(true);
  });

  test.each([
    [status.INVALID_ARGUMENT, "INVALID_REQUEST"],
    [status.ALREADY_EXISTS, "MEMBER_NAME_EXISTS"],
    [status.NOT_FOUND, "MEMBER_REMOVED"],
    [status.FAILED_PRECONDITION, "UNHEALTHY_CLUSTER"],
    [status.ABORTED, "REVISION_MISMATCH"],
    [status.RESOURCE_EXHAUSTED, "DISK_FULL"],
    [status.INTERNAL, "INTERNAL"],
    [status.INTERNAL, undefined],
    [status.UNIMPLEMENTED, undefined],
    [status.RESOURCE_EXHAUSTED, undefined],
  ])("%s %s: no", (code, reason) => {
    expect(isRepeatable(error(code, reason))).toBe(false);
  });

  test("a reset stream is a transport failure, whatever code grpc-js gives it", () => {
    expect(
      isRepeatable(new MusterError({ code: status.INTERNAL, message: "Received RST_STREAM with code 2" })),
    ).toBe(true);
  });
});

describe("mayHaveHappened", () => {
  test.each([
    [error(status.UNAVAILABLE, "NO_LEADER"), false],
    [error(status.DEADLINE_EXCEEDED, "NOT_PROPOSED"), false],
    [error(status.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN"), true],
    [error(status.UNAVAILABLE, undefined, { sent: false }), false],
    [error(status.UNAVAILABLE), true],
    [error(status.DEADLINE_EXCEEDED), true],
  ])("%#", (failure, expected) => {
    expect(mayHaveHappened(failure)).toBe(expected);
  });
});

describe("pauseMs", () => {
  const plain = error(status.UNAVAILABLE);
  test("none within a round of endpoints", () => {
    expect(pauseMs(plain, 1, 3, 0.5)).toBe(0);
    expect(pauseMs(plain, 2, 3, 0.5)).toBe(0);
  });

  test("doubles with each round, up to a second, and jitter takes at most half", () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7, 40].map((attempt) => pauseMs(plain, attempt, 1, 1));
    expect(ceilings).toEqual([50, 100, 200, 400, 800, 1000, 1000, 1000]);
    expect(pauseMs(plain, 2, 1, 0)).toBe(50);
  });

  test("is never shorter than the server asked for", () => {
    const busy = error(status.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", { retryDelayMs: 300 });
    expect(pauseMs(busy, 1, 1, 0)).toBe(300);
    expect(pauseMs(busy, 1, 3, 0)).toBe(300);
  });
});

describe("attemptMs", () => {
  test("one endpoint gets all the time", () => {
    expect(attemptMs(7000, 0, 1)).toBe(7000);
    expect(attemptMs(100, 5, 1)).toBe(100);
  });

  test("the first endpoints of a round leave time for the last", () => {
    expect(attemptMs(7000, 0, 3)).toBe(3500);
    expect(attemptMs(3500, 1, 3)).toBe(2500);
    expect(attemptMs(1000, 2, 3)).toBe(1000);
    expect(attemptMs(1500, 3, 3)).toBe(1500);
  });
});

describe("attemptMinMs", () => {
  test("a write of certain outcome needs a quarter of its time, at most half a second", () => {
    expect([7000, 1000, 100, 10].map((timeoutMs) => attemptMinMs(timeoutMs, true))).toEqual([
      500, 250, 25, 25,
    ]);
  });

  test("anything else is tried to the end", () => {
    expect(attemptMinMs(7000, false)).toBe(25);
  });
});
