/** The wire of a run: listeners, transport and calls between members over the simulated network. */
import type { ErrorTranslator } from "../../src/rpc/unary";
import type { AdminListener, PeerListener, Wire } from "../../src/server/wire";
import type { Self } from "../../src/transport/handshake";
import type { StreamGate } from "../../src/transport/stream_gate";
import type { Transport, TransportEvents } from "../../src/transport/transport";
import type { Member } from "./member";
import { SimListener } from "./sim_listener";
import { SimPeerCalls } from "./sim_peer_calls";
import { SimTransport } from "./sim_transport";

export class SimWire implements Wire {
  readonly peers: SimPeerCalls;

  constructor(private readonly member: Member) {
    this.peers = new SimPeerCalls(member);
  }

  peerListener(translate: ErrorTranslator, gate: () => StreamGate | null): PeerListener {
    const listener = new SimListener(translate, gate);
    this.member.peerListener = listener;
    return listener;
  }

  adminListener(translate: ErrorTranslator): AdminListener {
    const listener = new SimListener(translate);
    this.member.adminListener = listener;
    return listener;
  }

  transport(self: Self, events: TransportEvents): Transport {
    return new SimTransport(this.member, self, events);
  }
}
