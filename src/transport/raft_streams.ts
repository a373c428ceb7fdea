/**
 * The receiving end of RaftService's streams on a gRPC listener: batches of messages, and snapshots.
 *
 * Invariants: at most one accepted stream per member, the newest. Whatever a peer sends is either handed to the gate or
 * reported to it as refused; no input makes a handler throw.
 */
import type { Server, ServiceDefinition, UntypedHandleCall } from "@grpc/grpc-js";
import type { Clock } from "../base/clock";
import { RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import { NO_NODE } from "../raft/index";
import type { NodeId } from "../raft/index";
import { decodeOrGarbage } from "../rpc/definition";
import { toGrpcStatus } from "../rpc/grpc_status";
import { RpcError, refusalError } from "../rpc/rpc_error";
import { acceptExchange } from "./exchange_acceptor";
import type { ExchangeCall, ExchangeHandle } from "./exchange_acceptor";
import { receiveSnapshot } from "./snapshot_receiver";
import type { SnapshotCall } from "./snapshot_receiver";
import type { StreamGate } from "./stream_gate";

interface RaftStreamsOptions {
  /** Null while this member waits to join a cluster: streams are refused with SERVER_STOPPING. */
  readonly gate: () => StreamGate | null;
  /** Measures the time for handshakes, and snapshots that stand still. */
  readonly clock: Clock;
  /** Runs a function in a turn of its own: setImmediate in the product. */
  readonly defer: (fn: () => void) => void;
}

/** The library's callback that answers a snapshot call. */
type SnapshotAnswer = (error: unknown, answer?: Record<string, never>) => void;

const { exchange, installSnapshot } = RaftServiceService;

export class RaftStreams {
  /** Accepted streams by their sender. */
  private readonly bySender = new Map<NodeId, ExchangeHandle>();
  /** All streams that are not over, accepted or not. */
  private readonly open = new Set<ExchangeHandle>();

  constructor(private readonly options: RaftStreamsOptions) {}

  /** Adds the streams to `server`, before it listens. */
  addTo(server: Server): void {
    const definition: ServiceDefinition = {
      exchange: { ...exchange, requestDeserialize: decodeOrGarbage(exchange.requestDeserialize) },
      installSnapshot: {
        ...installSnapshot,
        requestDeserialize: decodeOrGarbage(installSnapshot.requestDeserialize),
      },
    };
    const exchangeHandler = (call: ExchangeCall): void => {
      this.exchange(call);
    };
    const snapshotHandler = (call: SnapshotCall, answer: SnapshotAnswer): void => {
      this.installSnapshot(call, answer);
    };
    server.addService(definition, {
      exchange: exchangeHandler as UntypedHandleCall,
      installSnapshot: snapshotHandler as unknown as UntypedHandleCall,
    });
  }

  /** Ends each stream whose member the gate does not accept any more, with the gate's reason. */
  endExpelled(): void {
    const gate = this.options.gate();
    if (gate === null) return;
    for (const [id, handle] of [...this.bySender]) {
      const refusal = gate.expelled(id);
      if (refusal !== null) handle.end(refusal);
    }
  }

  /** Ends every stream with status OK, so that the listener can close. Snapshots that are on their way go on. */
  stop(): void {
    for (const handle of [...this.open]) handle.end(null);
  }

  private exchange(call: ExchangeCall): void {
    const gate = this.options.gate();
    if (gate === null) {
      call.emit("error", toGrpcStatus(notServing()));
      return;
    }
    const handle: ExchangeHandle = acceptExchange(call, {
      memberId: gate.memberId,
      clock: this.options.clock,
      defer: this.options.defer,
      check: (handshake) => gate.check(handshake),
      onAccepted: (handshake) => {
        this.bySender.get(handshake.memberId)?.end(null);
        this.bySender.set(handshake.memberId, handle);
        gate.diskFull(handshake.memberId, false);
        gate.accepted(handshake);
      },
      onDiskFull: (from, full) => {
        gate.diskFull(from, full);
      },
      onMessages: (from, messages) => {
        gate.receive(from, messages);
      },
      onDigest: (from, digest) => {
        gate.digest(from, digest);
      },
      onGarbage: (from, problem) => {
        gate.refused(from, problem);
      },
      onClosed: (from) => {
        this.open.delete(handle);
        if (this.bySender.get(from) !== handle) return;
        this.bySender.delete(from);
        gate.closed?.(from);
      },
    });
    this.open.add(handle);
  }

  private installSnapshot(call: SnapshotCall, answer: SnapshotAnswer): void {
    const gate = this.options.gate();
    if (gate === null) {
      answer(toGrpcStatus(notServing()));
      return;
    }
    const { memberId } = gate;
    const check = gate.checkSnapshot.bind(gate);
    receiveSnapshot(call, { memberId, clock: this.options.clock, check }).then(
      ({ handshake, message }) => {
        gate.accepted(handshake);
        gate.receive(handshake.memberId, [message]);
        answer(null, {});
      },
      (error: unknown) => {
        gate.refused(NO_NODE, error instanceof Error ? error.message : String(error));
        answer(toGrpcStatus(error instanceof RpcError ? error : notServing()));
      },
    );
  }
}

function notServing(): RpcError {
  return refusalError({
    reason: "SERVER_STOPPING",
    message: "this member waits to join a cluster",
    metadata: {},
  });
}
