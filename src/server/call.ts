/**
 * One call of a client or of a forwarding member, as the rooms behind the handlers see it: its deadline on this member,
 * whether it may be forwarded, and whether anybody still waits.
 */
import type { Metadata } from "@grpc/grpc-js";
import type { Deadline } from "../base/deadline";

/** Metadata key: `never` makes a member that does not lead answer NOT_LEADER in place of forwarding. */
export const FORWARD_KEY = "muster-forward";

export interface CallContext {
  /** As in the proto, for logs and fingerprints. */
  readonly rpc: string;
  readonly deadline: Deadline;
  readonly metadata: Metadata;
  readonly mayForward: boolean;
  readonly cancelled: boolean;
  /** Called once when the caller goes away. Replaces an earlier function. */
  onCancel(fn: () => void): void;
}

/** The caller went away: nobody reads the answer. */
export class CallCancelledError extends Error {
  constructor() {
    super("the caller cancelled the call");
    this.name = "CallCancelledError";
  }
}
