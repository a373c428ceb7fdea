/** Details of an error: read when they are ours, left out when they are damaged or foreign. */
import { Metadata, status } from "@grpc/grpc-js";
import { decodeDetails, fromServiceError } from "../../src/client/errors";
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
  });
  expect([...decoded.metadata]).toEqual([["field_count", "1"]]);
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
  });
});

test("a reason of another domain is not taken for one of ours", () => {
  const error = refusal({ code: status.NOT_FOUND, reason: "MEMBER_NOT_FOUND", domain: "example.com" });
  expect(decodeDetails(error.metadata).reason).toBeUndefined();
});

test.each([Buffer.from([0xff]), Buffer.from([0x1a, 0x7f, 0x01]), Buffer.alloc(0)])(
  "damaged details %#",
  (bytes) => {
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", bytes);
    expect(decodeDetails(metadata)).toEqual({
      message: undefined,
      reason: undefined,
      metadata: new Map(),
      violations: [],
      retryDelayMs: undefined,
    });
  },
);

test("one damaged detail does not take the others with it", () => {
  const error = refusal({ code: status.NOT_FOUND, reason: "MEMBER_NOT_FOUND" });
  const whole = error.metadata.get("grpc-status-details-bin")[0] as Buffer;
  // Field 3 of google.rpc.Status: an Any of type google.rpc.BadRequest whose value does not decode.
  const typeUrl = Buffer.from("type.googleapis.com/google.rpc.BadRequest");
  const any = Buffer.concat([Buffer.from([0x0a, typeUrl.length]), typeUrl, Buffer.from([0x12, 0x01, 0xff])]);
  error.metadata.set("grpc-status-details-bin", Buffer.concat([whole, Buffer.from([0x1a, any.length]), any]));
  expect(decodeDetails(error.metadata)).toMatchObject({ reason: "MEMBER_NOT_FOUND", violations: [] });
});
