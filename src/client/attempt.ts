/**
 * One attempt of a call: the method, its limits, and the interface to the member that gets it.
 *
 * Caller depends on this file alone, so that the same retry logic runs over gRPC (channel.ts) and over a simulated
 * network.
 */

/** A method of a service and the encoding of its messages. Every entry of a generated service definition is one. */
export interface Method<Req, Res> {
  /** "/package.Service/Method". */
  readonly path: string;
  /** May throw: a field may hold a value that its type on the wire can't express. */
  readonly requestSerialize: (request: Req) => Buffer;
  /** Throws when the bytes are not such a message. */
  readonly responseDeserialize: (bytes: Buffer) => Res;
}

/** Longest accepted timeout, one day: grpc-js lets a deadline of about 25 days or more expire at once. */
export const TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000;

/** The limits of one attempt. */
export interface Attempt {
  /** How long the attempt may take, in milliseconds, on the channel's own clock. */
  readonly timeoutMs: number;
  /** The request_id of a write, for the errors of the attempt; undefined for a read. */
  readonly requestId: string | undefined;
  /**
   * The number of this attempt, from 1. 2 or more says that an earlier attempt of the same write may have been made, or
   * be on its way; the member is told, and makes sure that a refusal holds for that one too.
   */
  readonly number: number;
  /** Ends the attempt with CANCELLED. */
  readonly signal: AbortSignal | undefined;
}

/**
 * What became of connecting: "connected"; "failed", so that an attempt fails at once and says why; or the error of a
 * connection that was not made in time.
 */
export type Readiness = "connected" | "failed" | Error;

/** The way to one member. An attempt that fails rejects with MusterError. */
export interface Channel {
  /** The address as host:port; errors name it. */
  readonly authority: string;
  /**
   * False: the member says that it does not serve (grpc.health.v1), and is asked only when all others failed.
   * @default true
   */
  readonly serving?: boolean;
  /**
   * Connects, and sends nothing. Never rejects. A channel without this method is always connected.
   */
  ready?(attempt: Attempt): Promise<Readiness>;
  /** Makes one attempt of a method with one request and one response. */
  unary<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): Promise<Res>;
  /**
   * Makes one attempt of a method that responds with a stream. The next message is fetched when the one before it has
   * been consumed; leaving the loop cancels the call.
   */
  serverStream<Req, Res>(method: Method<Req, Res>, request: Req, attempt: Attempt): AsyncIterable<Res>;
  /** Ends the connection and the calls on it. */
  close(): void;
}
