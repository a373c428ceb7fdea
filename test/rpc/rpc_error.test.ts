/** Every reason has the code of the contract, its details travel whole, and any text can be sent. */
import { status } from "@grpc/grpc-js";
import fc from "fast-check";
import { BadRequest, ErrorInfo, RetryInfo } from "../../src/generated/google/rpc/error_details";
import { Status } from "../../src/generated/google/rpc/status";
import { ErrorReason } from "../../src/generated/muster/v1/errors";
import { decodeDetails } from "../../src/rpc/error_details";
import { GRPC_STATUS, RpcError, StatusCode, refusalError } from "../../src/rpc/rpc_error";

type Reason = keyof typeof GRPC_STATUS;

function details(error: RpcError): { status: Status; [type: string]: unknown } {
  const decoded = Status.decode(error.details ?? Buffer.alloc(0));
  const byType = decoded.details.map(({ typeUrl, value }) => {
    const type = typeUrl.replace("type.googleapis.com/google.rpc.", "");
    const codec = { ErrorInfo, BadRequest, RetryInfo }[type];
    return [type, codec?.decode(value)] as const;
  });
  return { status: decoded, ...Object.fromEntries(byType) };
}

/** The public contract's table. */
const CONTRACT: Record<string, Reason[]> = {
  INVALID_ARGUMENT: ["INVALID_REQUEST", "REQUEST_ID_REUSED"],
  ALREADY_EXISTS: ["MEMBER_ID_EXISTS", "MEMBER_NAME_EXISTS", "PEER_URL_EXISTS"],
  NOT_FOUND: ["MEMBER_NOT_FOUND", "MEMBER_REMOVED"],
  FAILED_PRECONDITION: [
    "NOT_ENOUGH_STARTED_MEMBERS",
    "UNHEALTHY_CLUSTER",
    "LAST_VOTER",
    "MEMBER_MISMATCH",
    "MEMBER_WIPED",
    "MEMBER_ROLLED_BACK",
    "LEARNER_NOT_READY",
    "TOO_MANY_LEARNERS",
    "FEATURE_NOT_READY",
    "MEMBER_IN_CONTACT",
    "REPLACEMENT_UNDER_WAY",
    "NOT_LEADER",
    "CLUSTER_ID_MISMATCH",
    "TRANSFER_FAILED",
  ],
  ABORTED: ["REVISION_MISMATCH"],
  OUT_OF_RANGE: ["REVISION_COMPACTED"],
  RESOURCE_EXHAUSTED: ["TOO_MANY_REQUESTS", "DISK_FULL"],
  UNAVAILABLE: ["NO_LEADER", "NO_QUORUM", "SERVER_STOPPING"],
  DEADLINE_EXCEEDED: ["OUTCOME_UNKNOWN", "NOT_PROPOSED"],
  INTERNAL: ["INTERNAL"],
};

test("the status codes have gRPC's numbers", () => {
  for (const [name, code] of Object.entries(StatusCode)) expect([name, status[code]]).toEqual([name, name]);
});

test("the codes are those of the contract, and no reason is left out", () => {
  for (const [code, reasons] of Object.entries(CONTRACT)) {
    for (const reason of reasons) expect([reason, status[GRPC_STATUS[reason]]]).toEqual([reason, code]);
  }
  expect(Object.keys(GRPC_STATUS).sort()).toEqual(Object.values(CONTRACT).flat().sort());
  const declared = Object.keys(ErrorReason).filter(
    (name) => name !== "UNSPECIFIED" && name !== "UNRECOGNIZED",
  );
  expect(declared.filter((name) => !(name in GRPC_STATUS))).toEqual([]);
});

test.each(Object.keys(GRPC_STATUS) as Reason[])(
  "%s: ErrorInfo with domain, reason and metadata",
  (reason) => {
    const error = refusalError({ reason, message: "why", metadata: { id: "ab" } });
    const { status: inner, ErrorInfo: info } = details(error);
    expect(error).toMatchObject({ name: "RpcError", code: GRPC_STATUS[reason], message: "why", reason });
    expect([inner.code, inner.message, inner.details]).toMatchObject([
      GRPC_STATUS[reason],
      "why",
      { length: 1 },
    ]);
    expect(info).toMatchObject({ domain: "muster.v1", reason, metadata: new Map([["id", "ab"]]) });
  },
);

test("BadRequest lists the violations, RetryInfo the time to wait; neither is sent unless given", () => {
  const violations = [
    { field: "name", description: "must not be empty" },
    { field: "peer_url", description: "must have a port" },
  ];
  const bad = details(
    refusalError({ reason: "INVALID_REQUEST", message: "bad", metadata: {}, violations, retryDelayMs: null }),
  );
  expect(bad["BadRequest"]).toMatchObject({ fieldViolations: violations });
  expect(bad["RetryInfo"]).toBeUndefined();
  const later = details(
    refusalError({ reason: "TOO_MANY_REQUESTS", message: "later", metadata: {}, retryDelayMs: 1500 }),
  );
  expect(later["RetryInfo"]).toMatchObject({ retryDelay: { seconds: 1n, nanos: 500_000_000 } });
  expect(later["BadRequest"]).toBeUndefined();
});

test("any text can be sent: it is well-formed and short, outside the details as in them", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 50 }), fc.nat(5000), (piece, times) => {
      const message = `\ud800${piece.repeat(times)}`;
      const error = refusalError({ reason: "INTERNAL", message, metadata: { key: piece.repeat(99) } });
      expect(() => encodeURI(error.message)).not.toThrow();
      expect(error.message.length).toBeLessThanOrEqual(2048);
      const decoded = decodeDetails(error.details ?? undefined);
      expect(decoded.message).toBe(error.message);
      expect(decoded.metadata.get("key")?.length ?? 0).toBeLessThanOrEqual(512);
    }),
  );
});

test("an error without details, with garbage or of another domain has no reason", () => {
  const reasonIn = (bytes: Buffer | null): string | null => new RpcError(2, "text", bytes).reason;
  expect(reasonIn(null)).toBeNull();
  expect(reasonIn(Buffer.alloc(0))).toBeNull();
  expect(reasonIn(Buffer.from([0x1a, 0xff]))).toBeNull();
  const ours = refusalError({ reason: "INTERNAL", message: "x", metadata: {} }).details ?? Buffer.alloc(0);
  expect(reasonIn(ours)).toBe("INTERNAL");
  const other = Buffer.from(ours.toString("latin1").replace("muster.v1", "monster_1"), "latin1");
  expect(reasonIn(other)).toBeNull();
});
