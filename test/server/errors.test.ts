/** Every reason has the code of the contract, and its details travel whole. */
import { status } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../src/generated/google/rpc/error_details";
import { Status } from "../../src/generated/google/rpc/status";
import { ErrorReason } from "../../src/generated/muster/v1/errors";
import { refuseInvalid } from "../../src/roster/index";
import type { Reason } from "../../src/roster/index";
import {
  GRPC_STATUS,
  RefusedError,
  internalError,
  refused,
  toDuration,
  toStatus,
} from "../../src/server/errors";
import type { StatusError } from "../../src/server/errors";

function details(error: StatusError): { status: Status; [type: string]: unknown } {
  const decoded = Status.decode(error.metadata.get("grpc-status-details-bin")[0] as Buffer);
  const byType = decoded.details.map(({ typeUrl, value }) => {
    const type = typeUrl.replace("type.googleapis.com/google.rpc.", "");
    const codec = { ErrorInfo, BadRequest, RetryInfo }[type];
    return [type, codec?.decode(value)] as const;
  });
  return { status: decoded, ...Object.fromEntries(byType) };
}

/** SPEC section 3, less what the public contract does not declare yet. */
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
    "NOT_A_LEARNER",
    "NOT_LEADER",
    "CLUSTER_ID_MISMATCH",
  ],
  ABORTED: ["REVISION_MISMATCH"],
  RESOURCE_EXHAUSTED: ["TOO_MANY_REQUESTS", "DISK_FULL"],
  UNAVAILABLE: ["NO_LEADER", "NO_QUORUM", "SERVER_STOPPING"],
  DEADLINE_EXCEEDED: ["OUTCOME_UNKNOWN", "NOT_PROPOSED"],
  INTERNAL: ["INTERNAL"],
};

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
    const error = toStatus(refused(reason, "why", { id: "ab" }));
    const { status: inner, ErrorInfo: info } = details(error);
    expect([error.code, error.details]).toEqual([GRPC_STATUS[reason], "why"]);
    expect([inner.code, inner.message, inner.details]).toMatchObject([
      GRPC_STATUS[reason],
      "why",
      { length: 1 },
    ]);
    expect(info).toMatchObject({ domain: "muster.v1", reason, metadata: new Map([["id", "ab"]]) });
  },
);

test("BadRequest lists the violations, RetryInfo the time to come back", () => {
  const bad = toStatus(
    new RefusedError(
      refuseInvalid([
        { field: "name", description: "must not be empty" },
        { field: "peer_url", description: "must have a port" },
      ]),
    ),
  );
  expect(details(bad)["BadRequest"]).toMatchObject({
    fieldViolations: [
      { field: "name", description: "must not be empty" },
      { field: "peer_url", description: "must have a port" },
    ],
  });
  expect(details(bad)["RetryInfo"]).toBeUndefined();
  const later = toStatus(refused("TOO_MANY_REQUESTS", "later", {}, 1500));
  expect(details(later)["RetryInfo"]).toMatchObject({ retryDelay: { seconds: 1n, nanos: 500_000_000 } });
});

test("an unexpected failure tells nothing of itself", () => {
  const error = internalError();
  expect(error.code).toBe(status.INTERNAL);
  expect(details(error)["ErrorInfo"]).toMatchObject({ reason: "INTERNAL", metadata: new Map() });
});

test.each([
  [0, { seconds: 0n, nanos: 0 }],
  [-5, { seconds: 0n, nanos: 0 }],
  [999.9, { seconds: 0n, nanos: 999_000_000 }],
  [61_001, { seconds: 61n, nanos: 1_000_000 }],
])("%d ms as a duration", (ms, duration) => {
  expect(toDuration(ms)).toEqual(duration);
});
