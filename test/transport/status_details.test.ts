/** Error details: a reason is read back, any text can be sent, and no bytes of a peer throw. */
import { Metadata, status } from "@grpc/grpc-js";
import fc from "fast-check";
import { Status } from "../../src/generated/google/rpc/status";
import {
  STATUS_DETAILS_KEY,
  reasonOf,
  statusWithReason,
  wellFormed,
} from "../../src/transport/status_details";

test("a reason and its metadata are read back", () => {
  const built = statusWithReason(status.NOT_FOUND, "MEMBER_REMOVED", "gone", { id: "a1", revision: "7" });
  expect(built).toMatchObject({ code: status.NOT_FOUND, details: "gone" });
  expect(reasonOf(built)).toEqual({ reason: "MEMBER_REMOVED", metadata: { id: "a1", revision: "7" } });
});

test("the details repeat code and text, as google.rpc.Status asks, and keep what the caller packs", () => {
  const extra = { typeUrl: "type.googleapis.com/google.rpc.RetryInfo", value: Buffer.from([10, 2, 8, 1]) };
  const built = statusWithReason(status.ABORTED, "REVISION_MISMATCH", "behind", {}, [extra]);
  const decoded = Status.decode(Buffer.from(built.metadata.get(STATUS_DETAILS_KEY)[0] ?? ""));
  expect(decoded).toMatchObject({ code: status.ABORTED, message: "behind" });
  expect(decoded.details[1]).toEqual(extra);
});

test("any text can be sent: it is well-formed and short", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 50 }), fc.nat(5000), (piece, times) => {
      const built = statusWithReason(status.UNKNOWN, "X", `\ud800${piece.repeat(times)}`, {
        key: piece.repeat(99),
      });
      expect(() => encodeURI(built.details)).not.toThrow();
      expect(built.details.length).toBeLessThanOrEqual(2048);
      expect(reasonOf(built)?.metadata["key"]?.length ?? 0).toBeLessThanOrEqual(512);
    }),
  );
});

test("text is cut without leaving half a character", () => {
  expect(wellFormed("ab\u{1f600}cd", 4)).toBe("ab\ufffd\u2026");
  expect(wellFormed("abcd", 4)).toBe("abcd");
});

test("errors without details, with garbage or of another domain have no reason", () => {
  const withDetails = (bytes: Buffer): Metadata => {
    const metadata = new Metadata();
    metadata.set(STATUS_DETAILS_KEY, bytes);
    return metadata;
  };
  expect(reasonOf({})).toBeNull();
  expect(reasonOf({ metadata: new Metadata() })).toBeNull();
  expect(reasonOf({ metadata: withDetails(Buffer.from([0x1a, 0xff])) })).toBeNull();
  const ours = statusWithReason(status.UNKNOWN, "X", "x").metadata.get(STATUS_DETAILS_KEY)[0] as Buffer;
  expect(reasonOf({ metadata: withDetails(ours) })).not.toBeNull();
  const other = Buffer.from(ours.toString("latin1").replace("muster.v1", "monster_1"), "latin1");
  expect(reasonOf({ metadata: withDetails(other) })).toBeNull();
});

test("random details never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const metadata = new Metadata();
      metadata.set(STATUS_DETAILS_KEY, Buffer.from(bytes));
      reasonOf({ metadata });
    }),
    { numRuns: 2000 },
  );
});
