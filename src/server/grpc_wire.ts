/** The wire over gRPC (grpc-js), for clients and between members. */
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import type { Random } from "../base/random";
import { addReflection } from "../rpc/grpc_reflection";
import { GrpcHealth } from "../rpc/grpc_health";
import { GrpcServer } from "../rpc/grpc_server";
import type { ErrorTranslator } from "../rpc/unary";
import type { ListenerLimits } from "../rpc/listener_limits";
import { HEALTH_SERVICES } from "../services/health";
import type { HealthSink } from "../services/health";
import { dial } from "../transport/dial";
import { GrpcPeerCalls } from "../transport/grpc_peer_calls";
import { GrpcTransport } from "../transport/grpc_transport";
import type { Self } from "../transport/handshake";
import type { PeerCalls } from "../transport/peer_calls";
import { RaftStreams } from "../transport/raft_streams";
import type { StreamGate } from "../transport/stream_gate";
import type { Transport, TransportEvents } from "../transport/transport";
import type { AdminListener, PeerListener, Wire } from "./wire";

interface GrpcWireOptions {
  readonly clock: Clock;
  /** The wall clock: milliseconds since 1970. */
  readonly wallNow: () => number;
  readonly defer: (fn: () => void) => void;
  readonly random: Random;
  readonly log: Log;
  readonly electionMs: number;
  readonly listeners: Partial<ListenerLimits>;
}

/** Largest request to the admin listener. Unit: bytes. Far above any valid request; bounds the memory of a bad one. */
const REQUEST_BYTES_MAX = 1024 * 1024;
/** Largest message that the peer listener accepts. Unit: bytes. A batch of Raft messages has at most 4 MiB. */
const PEER_MESSAGE_BYTES_MAX = 8 * 1024 * 1024;
const PEER_BATCH_BYTES_MAX = 4 * 1024 * 1024;
/**
 * A streamed answer ends when its caller has read nothing for this long. Unit: milliseconds. The same limit as for a
 * snapshot between members.
 */
const STALL_MS = 30_000;

/** The services that reflection lists. Services between members are not for clients and are left out. */
const REFLECTED = ["muster.v1.MembershipService", "muster.v1.MaintenanceService", "grpc.health.v1.Health"];

export class GrpcWire implements Wire {
  readonly peers: PeerCalls;

  constructor(private readonly options: GrpcWireOptions) {
    this.peers = new GrpcPeerCalls({ dial, clock: options.clock, wallNow: options.wallNow });
  }

  peerListener(translate: ErrorTranslator, gate: () => StreamGate | null): PeerListener {
    const { clock, defer, listeners: limits } = this.options;
    return new GrpcPeerListener(
      { ...this.options, limits, translate, maxMessageBytes: PEER_MESSAGE_BYTES_MAX, stallMs: STALL_MS },
      new RaftStreams({ gate, clock, defer }),
    );
  }

  adminListener(translate: ErrorTranslator): AdminListener {
    const health = new GrpcHealth(HEALTH_SERVICES);
    const { listeners: limits } = this.options;
    const options = {
      ...this.options,
      limits,
      translate,
      maxMessageBytes: REQUEST_BYTES_MAX,
      stallMs: STALL_MS,
    };
    return new GrpcAdminListener(options, health);
  }

  transport(self: Self, events: TransportEvents): Transport {
    return new GrpcTransport({ ...this.options, self, events, dial, maxMessageBytes: PEER_BATCH_BYTES_MAX });
  }
}

type GrpcServerOptions = ConstructorParameters<typeof GrpcServer>[0];

class GrpcPeerListener extends GrpcServer implements PeerListener {
  constructor(
    options: GrpcServerOptions,
    private readonly streams: RaftStreams,
  ) {
    super(options);
    streams.addTo(this.native);
  }

  endExpelled(): void {
    this.streams.endExpelled();
  }

  endStreams(): void {
    this.streams.stop();
  }
}

class GrpcAdminListener extends GrpcServer implements AdminListener {
  readonly health: HealthSink;

  constructor(options: GrpcServerOptions, health: GrpcHealth) {
    super(options);
    this.health = health;
    health.addTo(this.native);
    addReflection(this.native, REFLECTED);
  }
}
