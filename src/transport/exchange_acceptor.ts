/**
 * The receiving end of one Exchange stream: a handshake within bounded time, one answer to it, then batches.
 *
 * Invariants: before the handshake is accepted, no other part of a request is used. A message reaches onMessages only
 * if it decodes, names the handshake's member as its sender, and is addressed to this member. onClosed is called
 * exactly once, and no other callback after it.
 *
 * A request that does not decode ends the stream, because its sender must be broken. A single message that is refused
 * is left out and reported to onGarbage.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { ExchangeRequest, ExchangeResponse, Handshake } from "../generated/muster/raft/v1/raft_service";
import { NO_NODE } from "../raft/index";
import type { Message, NodeId } from "../raft/index";
import type { Clock, Timer } from "../base/clock";
import { toGrpcStatus } from "../rpc/grpc_status";
import type { RpcError } from "../rpc/rpc_error";
import { decodeMessage } from "./codec";
import { WIRE_VERSION, invalidRequest, refuseHandshake } from "./handshake";
import type { HandshakeCheck } from "./handshake";
import { Garbage } from "../rpc/definition";
import type { Incoming } from "../rpc/definition";
import type { RosterDigest } from "./transport";

/** The server's side of an Exchange call. */
export type ExchangeCall = ServerDuplexStream<Incoming<ExchangeRequest>, ExchangeResponse>;

interface ExchangeAcceptOptions {
  /** This member's id. A handshake or a message to another id is refused. */
  readonly memberId: NodeId;
  /** Measures the time for the handshake. */
  readonly clock: Clock;
  /** Runs a function in a turn of its own: setImmediate in the product. */
  readonly defer: (fn: () => void) => void;
  /**
   * How long the sender may take for its handshake, in milliseconds. The sender writes it as soon as it is connected,
   * so this is only the time of one round trip and a busy peer. Raise it for links on which that takes seconds; a
   * sender that says nothing holds a stream for this long.
   *
   * @default 5000
   */
  readonly handshakeTimeoutMs?: number;
  /** Whether this sender may talk to this member. */
  readonly check: HandshakeCheck;
  /** The handshake was accepted and answered; batches follow. An older stream of the same member can be ended here. */
  onAccepted?(handshake: Handshake): void;
  /** One batch, in the order in which it was sent; never empty. */
  onMessages(from: NodeId, messages: Message[]): void;
  /** What the sender tells of its roster, after the messages of the same request. Not checked yet. */
  onDigest?(from: NodeId, digest: RosterDigest): void;
  /** The sender says whether its disk is full. */
  onDiskFull(from: NodeId, full: boolean): void;
  /** A message or a whole request was refused. `from` is NO_NODE before the handshake is accepted. */
  onGarbage(from: NodeId, problem: string): void;
  /** The stream is over. `from` is NO_NODE when its handshake was never accepted. */
  onClosed(from: NodeId): void;
}

/** An accepted stream, for the server. */
export interface ExchangeHandle {
  /** The sender, or NO_NODE before its handshake was accepted. */
  readonly from: NodeId;
  /** Ends the stream with `refusal`, or with status OK (null). After OK the sender connects again soon. */
  end(refusal: RpcError | null): void;
}

/** Takes over `call`. No callback of `options` is called before this function returns. */
export function acceptExchange(call: ExchangeCall, options: ExchangeAcceptOptions): ExchangeHandle {
  return new ExchangeAcceptor(call, options);
}

const HANDSHAKE_TIMEOUT_MS = 5000;

class ExchangeAcceptor implements ExchangeHandle {
  from: NodeId = NO_NODE;
  private closed = false;
  private handshakeTimer: Timer;

  constructor(
    private readonly call: ExchangeCall,
    private readonly options: ExchangeAcceptOptions,
  ) {
    const timeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    this.handshakeTimer = options.clock.setTimeout(() => {
      this.end(invalidRequest(`no handshake within ${timeoutMs} ms`));
    }, timeoutMs);
    call.on("data", (request: Incoming<ExchangeRequest>) => {
      this.receive(request);
    });
    call.on("end", () => {
      this.end(null);
    });
    // The connection is lost, the sender cancelled, or the library refused a frame: an answer would not arrive.
    call.on("cancelled", () => {
      this.close();
    });
    call.on("close", () => {
      this.close();
    });
    // Cancelled before the listeners were there. onClosed waits for a later turn: the caller has no handle yet.
    if (call.cancelled) {
      options.defer(() => {
        this.close();
      });
    }
  }

  end(refusal: RpcError | null): void {
    if (this.closed) return;
    if (refusal === null) this.call.end();
    // grpc-js sends an error event on a server stream as the stream's status.
    else this.call.emit("error", toGrpcStatus(refusal));
    this.close();
  }

  private close(): void {
    if (this.closed) return;
    this.closed = true;
    this.handshakeTimer.cancel();
    this.options.onClosed(this.from);
  }

  private receive(request: Incoming<ExchangeRequest>): void {
    if (this.closed) return;
    if (request instanceof Garbage) {
      this.options.onGarbage(this.from, `request does not decode: ${request.problem}`);
      this.end(invalidRequest("the request does not decode"));
    } else if (this.from === NO_NODE) {
      this.shakeHands(request);
    } else {
      this.receiveBatch(request);
    }
  }

  private shakeHands({ handshake, messages }: ExchangeRequest): void {
    const early = messages.length > 0 ? invalidRequest("messages in the handshake request") : null;
    const refusal = early ?? refuseHandshake(handshake, this.options.memberId, this.options.check);
    if (refusal !== null || handshake === undefined) {
      this.end(refusal);
      return;
    }
    this.handshakeTimer.cancel();
    this.from = handshake.memberId;
    this.call.write({ wireVersion: WIRE_VERSION });
    this.options.onAccepted?.(handshake);
  }

  private receiveBatch(request: ExchangeRequest): void {
    if (request.handshake !== undefined) {
      this.options.onGarbage(this.from, "second handshake");
      this.end(invalidRequest("a second handshake"));
      return;
    }
    if (request.diskFull !== undefined) this.options.onDiskFull(this.from, request.diskFull);
    const messages: Message[] = [];
    for (const wire of request.messages) {
      if (wire.from !== this.from) {
        this.options.onGarbage(this.from, `message from ${wire.from.toString(16)}`);
      } else if (wire.to !== this.options.memberId) {
        this.options.onGarbage(this.from, `message to ${wire.to.toString(16)}`);
      } else {
        const decoded = decodeMessage(wire);
        if (decoded.ok) messages.push(decoded.message);
        else this.options.onGarbage(this.from, decoded.problem);
      }
    }
    if (messages.length > 0) this.options.onMessages(this.from, messages);
    if (request.rosterDigest !== undefined) this.options.onDigest?.(this.from, request.rosterDigest);
  }
}
