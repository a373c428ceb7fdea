/**
 * Which members may talk to this one, decided by its roster: another cluster's member, a removed one and a wiped one are
 * refused with a reason (peer_identity.ts). An id that the roster does not list yet is let in (a joiner's roster is empty
 * at first).
 */
import type { Log } from "../base/log";
import type { Handshake } from "../generated/muster/raft/v1/raft_service";
import type { Message, NodeId } from "../raft/index";
import type { Replica } from "../replica/replica";
import { formatId, normaliseUrl } from "../roster/index";
import { PeerIdentities } from "./peer_identity";
import { refusalError } from "../rpc/rpc_error";
import type { RpcError } from "../rpc/rpc_error";
import type { StreamGate } from "../transport/stream_gate";
import type { RosterDigest } from "../transport/transport";
import type { Divergence } from "./divergence";

export class PeerAdmission implements StreamGate {
  private refusedMessages = 0;

  constructor(
    private readonly replica: Replica,
    private readonly log: Log,
    readonly identities: PeerIdentities = new PeerIdentities(replica, log, null),
    private readonly divergence: Divergence | null = null,
  ) {}

  get memberId(): NodeId {
    return this.replica.id;
  }

  /** Messages and requests of peers that were refused since the start. */
  get refusedCount(): number {
    return this.refusedMessages;
  }

  check(handshake: Handshake): RpcError | null {
    const refusal = this.judge(handshake);
    // Without a reason it passes by itself, and peer_identity.ts has logged it.
    const reason = refusal?.reason ?? null;
    if (refusal !== null && reason !== null) {
      const { term, applied: index } = this.replica;
      const fields = { from: handshake.memberId, reason, text: refusal.message };
      this.log.info({ ...fields, term, index }, "refused a peer's stream");
    }
    return refusal;
  }

  /** On a full disk a snapshot would only wait, and every later vote behind it. */
  checkSnapshot(handshake: Handshake): RpcError | null {
    const refusal = this.check(handshake);
    if (refusal !== null || this.replica.hasSpace) return refusal;
    const id = formatId(this.replica.id);
    const message = `the disk of member ${id} is full; it takes no snapshot until there is space`;
    return refusalError({ reason: "DISK_FULL", message, metadata: {} });
  }

  expelled(id: NodeId): RpcError | null {
    return this.removed(id) ?? this.identities.expelled(id);
  }

  private removed(id: NodeId): RpcError | null {
    const { replica } = this;
    if (replica.inbound.isRegressed(id)) return this.rolledBack(id);
    const tombstone = replica.roster.tombstone(id);
    if (tombstone === null || replica.isLeaving(id)) return null;
    const { name } = tombstone;
    const metadata = { id: formatId(id), name, revision: String(tombstone.revision) };
    const message = `member ${metadata.id} (${name}) was permanently removed at revision ${metadata.revision}`;
    return refusalError({ reason: "MEMBER_REMOVED", message, metadata });
  }

  accepted(handshake: Handshake): void {
    const { memberId, peerUrl } = handshake;
    this.identities.accepted(handshake);
    const url = normaliseUrl(peerUrl);
    if (url.ok) this.replica.addProvisionalPeer({ id: memberId, peerUrls: [url.url] });
  }

  receive(from: NodeId, messages: readonly Message[]): void {
    this.identities.receive(from, messages);
  }

  closed(from: NodeId): void {
    this.identities.closed(from);
  }

  digest(from: NodeId, digest: RosterDigest): void {
    const problem = this.divergence?.hear(from, digest) ?? null;
    if (problem !== null) this.refused(from, problem);
  }

  diskFull(from: NodeId, full: boolean): void {
    this.replica.disks.heard(from, full);
  }

  refused(from: NodeId, problem: string): void {
    this.refusedMessages++;
    // A broken peer may send a lot of it: only the first of each power of two is worth a line.
    const worthALine = (this.refusedMessages & (this.refusedMessages - 1)) === 0;
    const fields = { from, problem, refused: this.refusedMessages };
    if (worthALine) this.log.warn(fields, "refused what a peer sent");
    else this.log.debug(fields, "refused what a peer sent");
  }

  /** No replacement has this id: the verdict stands as long as this process. */
  private rolledBack(id: NodeId): RpcError {
    const metadata = { id: formatId(id), name: this.replica.roster.member(id)?.name ?? "" };
    const message =
      `the log of member ${metadata.name} (${metadata.id}) ends before what it had acknowledged: its data directory is an ` +
      "older copy, or lost what was synced; remove the member and add it again with an empty data directory";
    return refusalError({ reason: "MEMBER_ROLLED_BACK", message, metadata });
  }

  private judge(handshake: Handshake): RpcError | null {
    const { clusterId, memberId } = handshake;
    const { replica } = this;
    if (clusterId !== replica.clusterId) return clusterMismatch(clusterId, replica.clusterId);
    return this.removed(memberId) ?? this.identities.judge(handshake);
  }
}

/** The refusal of a call or stream that is meant for another cluster. */
export function clusterMismatch(theirs: bigint, ours: bigint): RpcError {
  const message = `this member belongs to cluster ${formatId(ours)}, the sender to ${formatId(theirs)}; check the peer URLs`;
  return refusalError({
    reason: "CLUSTER_ID_MISMATCH",
    message,
    metadata: { cluster_id: formatId(ours) },
  });
}
