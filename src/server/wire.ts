/**
 * The wire as a member uses it: two listeners, a transport, and calls to other members. Implemented over gRPC
 * (grpc_wire.ts) and, in the simulation, over a simulated network.
 */
import type { ErrorTranslator } from "../rpc/unary";
import type { RpcServer } from "../rpc/definition";
import type { HealthSink } from "../services/health";
import type { Self } from "../transport/handshake";
import type { PeerCalls } from "../transport/peer_calls";
import type { StreamGate } from "../transport/stream_gate";
import type { Transport, TransportEvents } from "../transport/transport";

/** The listener for other members: unary calls, and the Raft streams that the gate accepts. */
export interface PeerListener extends RpcServer {
  /** Ends the streams of members that the roster does not admit any more. */
  endExpelled(): void;
  /** Ends every stream, so that the listener can close. */
  endStreams(): void;
}

/** The listener for clients. */
export interface AdminListener extends RpcServer {
  readonly health: HealthSink;
}

export interface Wire {
  /** @param gate decides which streams to accept; returns null while this member waits to join */
  peerListener(translate: ErrorTranslator, gate: () => StreamGate | null): PeerListener;
  adminListener(translate: ErrorTranslator): AdminListener;
  transport(self: Self, events: TransportEvents): Transport;
  readonly peers: PeerCalls;
}
