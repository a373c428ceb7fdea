/** A received status becomes a MusterError, with the details where the service sent some. */
import { status } from "@grpc/grpc-js";
import { decodeDetails, fromServiceError, fromStatus } from "../../src/client/errors";
import { encodeDetails } from "../../src/rpc/error_details";
import { refusal } from "./support/scripted_server";

test("reason, metadata, violations, delay and the text of the details", () => {
  const error = refusal({
    code: status.INVALID_ARGUMENT,
    reason: "INVALID_REQUEST",
    message: "name: bad \u2013 sorry",
    metadata: { field_count: "1" },
    violations: [{ field: "name", description: "too long" }],
    retryDelay: { seconds: 1n, nanos: 500_000_000 },
  });
  error.details = "name: bad ? sorry";
  const decoded = fromServiceError(error, "127.0.0.1:7460", "r-1");
  expect(decoded).toMatchObject({
    name: "MusterError",
    code: status.INVALID_ARGUMENT,
    reason: "INVALID_REQUEST",
    label: "INVALID_REQUEST",
    message: "name: bad \u2013 sorry",
    violations: [{ field: "name", description: "too long" }],
    retryDelayMs: 1500,
    endpoint: "127.0.0.1:7460",
    requestId: "r-1",
    sent: true,
    cause: error,
  });
  expect([...decoded.metadata]).toEqual([["field_count", "1"]]);
  expect(decodeDetails(error.metadata)).toMatchObject({ reason: "INVALID_REQUEST", retryDelayMs: 1500 });
});

test("an error without details keeps its code and names the endpoint", () => {
  const error = refusal({ code: status.UNIMPLEMENTED, message: "unknown method" });
  expect(fromServiceError(error, "n1:1", undefined)).toMatchObject({
    code: status.UNIMPLEMENTED,
    reason: undefined,
    label: "UNIMPLEMENTED",
    message: "n1:1: unknown method",
    violations: [],
    retryDelayMs: undefined,
    sent: true,
  });
});

test.each([
  [
    "No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: none",
    "no connection to n1:1: connect ECONNREFUSED 127.0.0.1:1",
  ],
  ["No connection established", "no connection to n1:1: No connection established"],
  [
    "Name resolution failed for target dns:n1:1",
    "no connection to n1:1: Name resolution failed for target dns:n1:1",
  ],
])("grpc-js gave up before sending: %s", (details, message) => {
  const error = refusal({ code: status.UNAVAILABLE, message: details });
  expect(fromServiceError(error, "n1:1", "r-1")).toMatchObject({ message, sent: false, reason: undefined });
  const other = refusal({ code: status.INTERNAL, message: details });
  expect(fromServiceError(other, "n1:1", "r-1").sent).toBe(true);
});

describe("fromStatus", () => {
  const bytes = encodeDetails({
    code: status.NOT_FOUND,
    message: "no n9",
    reason: "MEMBER_NOT_FOUND",
    metadata: {},
  });
  const received = { code: status.NOT_FOUND, details: "text of the status", detailBytes: bytes };

  test("takes the text of the details, and a reason counts as sent", () => {
    expect(fromStatus(received, "n1:1", "r-1", false)).toMatchObject({
      code: status.NOT_FOUND,
      reason: "MEMBER_NOT_FOUND",
      message: "no n9",
      endpoint: "n1:1",
      requestId: "r-1",
      sent: true,
    });
  });

  test("takes the text of the status when the details have none", () => {
    const silent = encodeDetails({ code: 5, message: "", reason: "MEMBER_NOT_FOUND", metadata: {} });
    expect(fromStatus({ ...received, detailBytes: silent }, "n1:1", undefined, true).message).toBe(
      "text of the status",
    );
  });

  test.each([
    [true, "n1:1: text of the status"],
    [false, "no connection to n1:1: text of the status"],
  ])("without a reason the text names the endpoint; sent: %p", (sent, message) => {
    for (const detailBytes of [undefined, Buffer.from([0xff])]) {
      const error = fromStatus({ ...received, detailBytes }, "n1:1", undefined, sent);
      expect(error).toMatchObject({ reason: undefined, message, sent });
      expect(error.cause).toBeUndefined();
    }
  });
});

test("a code without a name is its own label", () => {
  const unknown = { code: 99 as status, details: "?", detailBytes: undefined };
  expect(fromStatus(unknown, "n1:1", undefined, true).label).toBe("99");
});
