/** RpcError through grpc-js and back: code, text and details stay as they were, and nothing received throws. */
import { Metadata, status } from "@grpc/grpc-js";
import fc from "fast-check";
import { STATUS_DETAILS_KEY } from "../../src/rpc/error_details";
import { fromGrpcFailure, toGrpcStatus } from "../../src/rpc/grpc_status";
import { RpcError, refusalError } from "../../src/rpc/rpc_error";

const UNKNOWN_CODE = { code: status.UNKNOWN, details: "text" };

function withDetails(value: Buffer): Metadata {
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS_KEY, value);
  return metadata;
}

test("a refusal is read back as it was", () => {
  const metadata = { id: "a1", revision: "7" };
  const sent = refusalError({ reason: "MEMBER_REMOVED", message: "gone", metadata });
  const built = toGrpcStatus(sent);
  expect(built).toMatchObject({ code: status.NOT_FOUND, details: "gone" });
  const received = fromGrpcFailure(built);
  expect(received).toMatchObject({ code: sent.code, message: "gone", details: sent.details });
  expect(received.reason).toBe("MEMBER_REMOVED");
});

test("an error without details has none on its way either", () => {
  const built = toGrpcStatus(new RpcError(status.UNIMPLEMENTED, "no such method", null));
  expect(built.metadata.getMap()).toEqual({});
  expect(fromGrpcFailure(built).details).toBeNull();
});

test("failures of the library, without metadata or without our trailer, have no reason", () => {
  expect(fromGrpcFailure(UNKNOWN_CODE)).toMatchObject({
    code: status.UNKNOWN,
    message: "text",
    reason: null,
  });
  expect(fromGrpcFailure({ ...UNKNOWN_CODE, metadata: new Metadata() }).reason).toBeNull();
  const garbage = Buffer.from([0x1a, 0xff]);
  expect(fromGrpcFailure({ ...UNKNOWN_CODE, metadata: withDetails(garbage) })).toMatchObject({
    details: garbage,
    reason: null,
  });
});

test("random details never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const { reason } = fromGrpcFailure({ ...UNKNOWN_CODE, metadata: withDetails(Buffer.from(bytes)) });
      return reason === null || reason !== "";
    }),
    { numRuns: 2000 },
  );
});
