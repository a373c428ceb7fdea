/** From whatever ended a call to its status: refusals keep their reason, other failures say nothing of themselves. */
import { CallCancelledError, OpenCall } from "../../src/base/call";
import { Deadline } from "../../src/base/deadline";
import { silentLog } from "../../src/base/log";
import type { Log, LogFields } from "../../src/base/log";
import { RefusedError, refuseInvalid, refused } from "../../src/roster/index";
import { decodeDetails } from "../../src/rpc/error_details";
import type { ErrorDetails } from "../../src/rpc/error_details";
import { GRPC_STATUS, RpcError, StatusCode } from "../../src/rpc/rpc_error";
import { errorTranslator, toRpcError } from "../../src/services/errors";
import { ManualClock } from "../base/support/manual_clock";

const logged: { level: string; fields: LogFields; text: string; error?: Error | undefined }[] = [];
const log: Log = {
  ...silentLog,
  debug: (fields, text) => logged.push({ level: "debug", fields, text }),
  info: (fields, text) => logged.push({ level: "info", fields, text }),
  error: (fields, text, error) => logged.push({ level: "error", fields, text, error }),
};
const call = new OpenCall({ method: "AddMember", deadline: Deadline.of(new ManualClock(), 1000, 1000) });
const translator = errorTranslator(log, () => ({ term: 3, index: 7 }));
const translate = (error: unknown): RpcError => translator(error, call);

beforeEach(() => {
  logged.length = 0;
});

const detailsOf = ({ details }: RpcError): ErrorDetails => decodeDetails(details ?? undefined);

test("a refusal keeps reason, text, metadata, violations and delay, and is one line of the log", () => {
  const error = translate(refused("TOO_MANY_REQUESTS", "later", { limit: "2" }, 1500));
  expect(error).toMatchObject({ code: GRPC_STATUS.TOO_MANY_REQUESTS, message: "later" });
  expect(detailsOf(error)).toEqual({
    message: "later",
    reason: "TOO_MANY_REQUESTS",
    metadata: new Map([["limit", "2"]]),
    violations: [],
    retryDelayMs: 1500,
  });
  const fields = { rpc: "AddMember", reason: "TOO_MANY_REQUESTS", text: "later", term: 3, index: 7 };
  expect(logged).toEqual([{ level: "info", fields, text: "refused" }]);
});

test("that a member waits or stops is no line of its own for each call that it refuses", () => {
  translate(refused("SERVER_STOPPING", "ask another"));
  expect(logged.map(({ level }) => level)).toEqual(["debug"]);
});

test("BadRequest lists the violations; without a delay there is no RetryInfo", () => {
  const violations = [
    { field: "name", description: "must not be empty" },
    { field: "peer_url", description: "must have a port" },
  ];
  const details = detailsOf(toRpcError(new RefusedError(refuseInvalid(violations))));
  expect(details).toMatchObject({ reason: "INVALID_REQUEST", violations, retryDelayMs: undefined });
});

test.each([new Error("secret"), "secret"])(
  "an unexpected failure tells nothing of itself; the log has it: %p",
  (failure) => {
    const error = translate(failure);
    expect(error.code).toBe(StatusCode.INTERNAL);
    expect(detailsOf(error)).toMatchObject({ reason: "INTERNAL", metadata: new Map() });
    expect(`${error.message}${error.details?.toString("latin1") ?? ""}`).not.toContain("secret");
    expect(logged).toEqual([
      {
        level: "error",
        fields: { rpc: "AddMember" },
        text: "a call failed unexpectedly",
        error: new Error("secret"),
      },
    ]);
  },
);

test("what another member answered is passed on as it is, details and all", () => {
  const theirs = new RpcError(StatusCode.ABORTED, "as it was", Buffer.from("whatever they sent"));
  expect(translate(theirs)).toBe(theirs);
  expect(logged).toEqual([]);
});

test("a cancelled call was not proposed, which is no line of the log", () => {
  const error = translate(new CallCancelledError());
  expect([error.code, error.reason]).toEqual([StatusCode.DEADLINE_EXCEEDED, "NOT_PROPOSED"]);
  expect(logged).toEqual([]);
});
