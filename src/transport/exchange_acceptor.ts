/**
 * The receiving end of one Exchange stream: handshake within bounded time, one answer, then batches.
 *
 * Invariants: nothing but the handshake is looked at before it is accepted; a message reaches `onMessages` only when
 * it decodes, comes from the member of the handshake and is meant for this one; onClosed is called exactly once, and
 * nothing after it. A request that does not decode ends the stream (the sender is broken, and the framing is lost to
 * it); a message that is refused by itself is left out and told to onGarbage, which the caller counts.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { ExchangeRequest, ExchangeResponse, Handshake } from "../generated/muster/raft/v1/raft_service";
import { NO_NODE } from "../raft/index";
import type { Message, NodeId } from "../raft/index";
import type { Clock, Timer } from "../base/clock";
import { decodeMessage } from "./codec";
import { WIRE_VERSION, invalidRequest, refuseHandshake } from "./handshake";
import type { HandshakeCheck } from "./handshake";
import { Garbage } from "./service_definition";
import type { Incoming } from "./service_definition";
import { statusOfRefusal } from "./status_details";
import type { Refusal } from "./status_details";

/** The server's side of an Exchange call. */
export type ExchangeCall = ServerDuplexStream<Incoming<ExchangeRequest>, ExchangeResponse>;

export interface ExchangeAcceptOptions {
  /** This member; messages to another id are refused. */
  readonly memberId: NodeId;
  readonly clock: Clock;
  /** How long the sender may take for its handshake. @default 5000 */
  readonly handshakeTimeoutMs?: number;
  /** Whether this sender is let in. */
  readonly check: HandshakeCheck;
  /** The handshake is accepted and answered; batches follow. The place to end an older stream of the same member. */
  onAccepted?(handshake: Handshake): void;
  /** One batch, in the order it was sent; never empty. */
  onMessages(from: NodeId, messages: Message[]): void;
  /** Something was refused: a message or a whole request. NO_NODE before the handshake was accepted. */
  onGarbage(from: NodeId, problem: string): void;
  /** The stream is over. NO_NODE when its handshake was never accepted. */
  onClosed(from: NodeId): void;
}

/** An open stream in the hands of the server. */
export interface ExchangeHandle {
  /** The sender, or NO_NODE before its handshake was accepted. */
  readonly from: NodeId;
  /** Ends the stream: with a reason, or (null) with status OK, which makes the sender reconnect. */
  end(refusal: Refusal | null): void;
}

/** Takes over `call`; everything else is told through `options`, never from inside this function. */
export function acceptExchange(call: ExchangeCall, options: ExchangeAcceptOptions): ExchangeHandle {
  return new ExchangeAcceptor(call, options);
}

const HANDSHAKE_TIMEOUT_MS = 5000;

class ExchangeAcceptor implements ExchangeHandle {
  from: NodeId = NO_NODE;
  #closed = false;
  #handshakeTimer: Timer;

  constructor(
    private readonly call: ExchangeCall,
    private readonly options: ExchangeAcceptOptions,
  ) {
    const timeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    this.#handshakeTimer = options.clock.setTimeout(() => {
      this.end(invalidRequest(`no handshake within ${timeoutMs} ms`));
    }, timeoutMs);
    call.on("data", (request: Incoming<ExchangeRequest>) => {
      this.#receive(request);
    });
    call.on("end", () => {
      this.end(null);
    });
    // The connection is gone, the sender cancelled, or the library refused a frame: nobody is left to answer.
    call.on("cancelled", () => {
      this.#close();
    });
    call.on("close", () => {
      this.#close();
    });
    // Gone before we listened. Told in a turn of its own: the caller does not have its handle yet.
    if (call.cancelled) {
      setImmediate(() => {
        this.#close();
      });
    }
  }

  end(refusal: Refusal | null): void {
    if (this.#closed) return;
    if (refusal === null) this.call.end();
    // This is how a status with details leaves a stream of grpc-js.
    else this.call.emit("error", statusOfRefusal(refusal));
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handshakeTimer.cancel();
    this.options.onClosed(this.from);
  }

  #receive(request: Incoming<ExchangeRequest>): void {
    if (this.#closed) return;
    if (request instanceof Garbage) {
      this.options.onGarbage(this.from, `request does not decode: ${request.problem}`);
      this.end(invalidRequest("the request does not decode"));
    } else if (this.from === NO_NODE) {
      this.#shakeHands(request);
    } else {
      this.#receiveBatch(request);
    }
  }

  #shakeHands({ handshake, messages }: ExchangeRequest): void {
    const early = messages.length > 0 ? invalidRequest("messages in the handshake request") : null;
    const refusal = early ?? refuseHandshake(handshake, this.options.memberId, this.options.check);
    if (refusal !== null || handshake === undefined) {
      this.end(refusal);
      return;
    }
    this.#handshakeTimer.cancel();
    this.from = handshake.memberId;
    this.call.write({ wireVersion: WIRE_VERSION });
    this.options.onAccepted?.(handshake);
  }

  #receiveBatch(request: ExchangeRequest): void {
    if (request.handshake !== undefined) {
      this.options.onGarbage(this.from, "second handshake");
      this.end(invalidRequest("a second handshake"));
      return;
    }
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
  }
}
