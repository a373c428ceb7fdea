/**
 * Unary calls from this member to another one: forwarded calls, and one-off questions. A request is a path and an
 * encoded message, so that the wire that carries it does not depend on any service.
 */
import type { Call } from "../base/call";
import type { Outcome } from "../base/outcome";

/** The request of one call, encoded. */
export interface PeerRequest {
  /** The method's path: "/muster.v1.MembershipService/AddMember". */
  readonly path: string;
  /** The encoded request message. */
  readonly body: Uint8Array;
}

export interface PeerCalls {
  /**
   * Calls the member whose peer listener is at `url` on behalf of the caller of `call`, within that call's deadline.
   * The called member does not forward again: two members that disagree on the leader would pass a call back and forth.
   *
   * Outcome: "done" with the encoded answer; "refused" with the other member's own RpcError, unchanged; "retry" when
   * there was no connection within `connectMs`, so that nothing was sent; "unknown" when the call was sent and its
   * answer did not come.
   *
   * @param connectMs how long to wait for a connection, in milliseconds
   * @throws CallCancelledError when the caller cancels. A call that was sent goes on all the same.
   */
  call(url: string, request: PeerRequest, call: Call, connectMs: number): Promise<Outcome<Uint8Array>>;

  /**
   * Asks a member of a cluster that this process may not have joined. Null when there was no answer in time, or an
   * error in its place. Never rejects.
   *
   * @param timeoutMs time for connection and answer together, in milliseconds
   */
  ask(url: string, request: PeerRequest, timeoutMs: number): Promise<Uint8Array | null>;

  /** Closes every channel. A call that was sent still waits for its answer, until its deadline. */
  close(): void;
}
