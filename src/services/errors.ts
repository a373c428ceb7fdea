/**
 * From the error that ended a call to its status (AIP-193). A refusal becomes google.rpc.Status with one ErrorInfo. An
 * unexpected failure becomes INTERNAL with a fixed text; the log has the failure itself.
 */
import { CallCancelledError } from "../base/call";
import type { Log } from "../base/log";
import { RefusedError, refused } from "../roster/index";
import { RpcError, refusalError } from "../rpc/rpc_error";
import type { ErrorTranslator } from "../rpc/unary";

/** @param position the replica's term and applied index, for the log's lines about refusals */
export function errorTranslator(
  log: Log,
  position: () => { readonly term: number; readonly index: number },
): ErrorTranslator {
  return (error, { method: rpc }) => {
    // The answer of another member, or of the wire: passed on unchanged.
    if (error instanceof RpcError) return error;
    if (error instanceof RefusedError) {
      const { reason, message: text } = error.refusal;
      // Members that start ask the others again and again, and the log has a line when a member waits or stops.
      const level = reason === "SERVER_STOPPING" ? "debug" : "info";
      log[level]({ rpc, reason, text, ...position() }, "refused");
      return toRpcError(error);
    }
    if (error instanceof CallCancelledError) return CANCELLED;
    const failure = error instanceof Error ? error : new Error(String(error));
    log.error({ rpc }, "a call failed unexpectedly", failure);
    return INTERNAL;
  };
}

/** The status of a refusal. */
export function toRpcError({ refusal, retryDelayMs }: RefusedError): RpcError {
  return refusalError({ ...refusal, retryDelayMs });
}

/** The status of a call that nobody waits for. */
const CANCELLED = toRpcError(refused("NOT_PROPOSED", "the caller cancelled the call"));

/** The status of every unexpected failure. */
const INTERNAL = refusalError({
  reason: "INTERNAL",
  message: "the member failed to handle this call; its log has the details under the time of the call",
  metadata: {},
});
