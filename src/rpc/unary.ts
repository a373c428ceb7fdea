/**
 * Runs the handler of a unary call, on any wire. A request that does not decode becomes INVALID_REQUEST; anything that
 * the handler throws becomes a status with details, because its caller would otherwise wait until its deadline.
 */
import type { Call } from "../base/call";
import { Garbage } from "./definition";
import type { Answer, Incoming, UnaryHandler } from "./definition";
import { refusalError } from "./rpc_error";
import type { RpcError } from "./rpc_error";

/** The status of a value that a handler threw. Logs it where that is due. Must not throw. */
export type ErrorTranslator = (error: unknown, call: Call) => RpcError;

/** The handler's answer. @throws RpcError and nothing else */
export async function answerUnary<Req, Res>(
  handler: UnaryHandler<Req, Res>,
  request: Incoming<Req>,
  call: Call,
  translate: ErrorTranslator,
): Promise<Answer<Res>> {
  if (request instanceof Garbage) throw notDecodable();
  try {
    return await handler(request, call);
  } catch (error) {
    throw translate(error, call);
  }
}

/** The status of a request that does not decode. The decoder's own error is for the log. */
export function notDecodable(): RpcError {
  return refusalError({
    reason: "INVALID_REQUEST",
    message: "the request's bytes do not decode; generate the client from the current proto files",
    metadata: {},
  });
}
