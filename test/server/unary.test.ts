/** What every handler goes through: whatever happens inside, the caller is answered once, with a status that says why. */
import { EventEmitter } from "node:events";
import { Metadata, status } from "@grpc/grpc-js";
import type { ServerUnaryCall, ServiceError } from "@grpc/grpc-js";
import type { CallContext } from "../../src/server/call";
import { CallCancelledError } from "../../src/server/call";
import { refused } from "../../src/server/errors";
import { PassedOnError } from "../../src/server/forwarder";
import { unary } from "../../src/server/interceptors/unary";
import { silentLogger } from "../../src/server/logger";
import { Garbage } from "../../src/transport/service_definition";
import type { Incoming } from "../../src/transport/service_definition";
import { reasonOf } from "../../src/transport/status_details";
import { ManualClock } from "../base/support/manual_clock";

interface Answer {
  readonly error: ServiceError | null;
  readonly value: unknown;
}

class FakeCall extends EventEmitter {
  readonly metadata = new Metadata();
  deadline: Date | number = Infinity;
  constructor(readonly request: Incoming<string>) {
    super();
  }
  getDeadline(): Date | number {
    return this.deadline;
  }
}

const clock = new ManualClock();
let logged: string[];
let answers: Answer[];
beforeEach(() => {
  logged = [];
  answers = [];
});

function handle(
  call: FakeCall,
  work: (request: string, context: CallContext) => Promise<string>,
): Promise<void> {
  const handler = unary<string, string>(
    "Test",
    {
      clock,
      wallNow: () => 1_000_000,
      electionMs: 1000,
      log: { ...silentLogger, error: (_fields, text, err) => logged.push(`${text}: ${err?.message ?? ""}`) },
      position: () => ({ term: 1, index: 1 }),
    },
    work,
  );
  return new Promise((resolve) => {
    handler(call as unknown as ServerUnaryCall<Incoming<string>, string | Buffer>, (error, value) => {
      answers.push({ error: error as ServiceError | null, value });
      resolve();
    });
  });
}

function failed(): { code: number | undefined; reason: string | undefined; details: string | undefined } {
  expect(answers).toHaveLength(1);
  const error = answers[0]?.error ?? null;
  return {
    code: error?.code,
    reason: error === null ? undefined : reasonOf(error)?.reason,
    details: error?.details,
  };
}

test("an answer", async () => {
  await handle(new FakeCall("x"), (request) => Promise.resolve(`${request}!`));
  expect(answers).toEqual([{ error: null, value: "x!" }]);
});

test("a request that does not decode never reaches the handler", async () => {
  let reached = false;
  await handle(new FakeCall(new Garbage("index out of range")), () => {
    reached = true;
    return Promise.resolve("");
  });
  expect(reached).toBe(false);
  expect(failed()).toMatchObject({ code: status.INVALID_ARGUMENT, reason: "INVALID_REQUEST" });
});

test.each([
  [
    "throws",
    () => {
      throw new Error("secret");
    },
  ],
  ["rejects", () => Promise.reject(new Error("secret"))],
  [
    "throws what is no Error",
    () => {
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- what is tested
      throw "secret";
    },
  ],
])("a handler that %s: INTERNAL with a fixed text, the rest in the log", async (_what, work) => {
  await handle(new FakeCall("x"), work);
  expect(failed()).toMatchObject({ code: status.INTERNAL, reason: "INTERNAL" });
  expect(failed().details).not.toContain("secret");
  expect(logged).toEqual(["a call failed unexpectedly: secret"]);
});

test("a refusal keeps its reason; what the leader said is passed on as it is", async () => {
  await handle(new FakeCall("x"), () => Promise.reject(refused("LAST_VOTER", "the last one")));
  expect(failed()).toEqual({
    code: status.FAILED_PRECONDITION,
    reason: "LAST_VOTER",
    details: "the last one",
  });
  answers = [];
  const metadata = new Metadata();
  metadata.set("a-key", "kept");
  const error = Object.assign(new Error("m"), { code: status.ABORTED, details: "as it was", metadata });
  await handle(new FakeCall("x"), () => Promise.reject(new PassedOnError(error, "REVISION_MISMATCH")));
  expect(failed()).toMatchObject({ code: status.ABORTED, details: "as it was" });
  expect(answers[0]?.error?.metadata.get("a-key")).toEqual(["kept"]);
});

test("a cancelled call is told to the handler, once and however late it asks", async () => {
  const call = new FakeCall("x");
  let told = 0;
  await handle(call, async (_request, context) => {
    expect(context.cancelled).toBe(false);
    call.emit("cancelled");
    expect(context.cancelled).toBe(true);
    context.onCancel(() => told++);
    await Promise.resolve();
    throw new CallCancelledError();
  });
  expect(told).toBe(1);
  expect(failed()).toMatchObject({ reason: "NOT_PROPOSED" });
});

test("the deadline of the call, shortened; and whether it may be forwarded", async () => {
  const seen: [number, boolean][] = [];
  const note = (_request: string, context: CallContext): Promise<string> => {
    seen.push([context.deadline.remainingMs(), context.mayForward]);
    return Promise.resolve("");
  };
  const bounded = new FakeCall("x");
  bounded.deadline = new Date(1_000_000 + 2000);
  bounded.metadata.set("muster-forward", "never");
  await handle(bounded, note);
  await handle(new FakeCall("x"), note);
  expect(seen).toEqual([
    [1900, false],
    [6750, true],
  ]);
});
