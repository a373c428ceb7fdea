/**
 * Which members may talk to this one, decided by its roster: another cluster's member, a removed one and a wiped one are
 * refused with a reason. An id that the roster does not list yet is let in (a joiner's roster is empty at first).
 */
import type { Log } from "../base/log";
import type { Handshake } from "../generated/muster/raft/v1/raft_service";
import type { Message, NodeId } from "../raft/index";
import type { Replica } from "../replica/replica";
import { formatId, normaliseUrl, sameBytes } from "../roster/index";
import { refusalError } from "../rpc/rpc_error";
import type { RpcError } from "../rpc/rpc_error";
import type { StreamGate } from "../transport/stream_gate";

export class PeerAdmission implements StreamGate {
  private refusedMessages = 0;

  constructor(
    private readonly replica: Replica,
    private readonly log: Log,
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
    if (refusal !== null) {
      const { term, applied: index } = this.replica;
      const fields = { from: handshake.memberId, reason: refusal.reason ?? "", text: refusal.message };
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
    const { replica } = this;
    const tombstone = replica.roster.tombstone(id);
    if (tombstone === null || replica.isLeaving(id)) return null;
    const { name } = tombstone;
    const metadata = { id: formatId(id), name, revision: String(tombstone.revision) };
    const message = `member ${metadata.id} (${name}) was permanently removed at revision ${metadata.revision}`;
    return refusalError({ reason: "MEMBER_REMOVED", message, metadata });
  }

  accepted({ memberId, peerUrl }: Handshake): void {
    const url = normaliseUrl(peerUrl);
    if (url.ok) this.replica.addProvisionalPeer({ id: memberId, peerUrls: [url.url] });
  }

  receive(from: NodeId, messages: readonly Message[]): void {
    this.replica.receive(from, messages);
  }

  refused(from: NodeId, problem: string): void {
    this.refusedMessages++;
    // A broken peer may send a lot of it: only the first of each power of two is worth a line.
    const worthALine = (this.refusedMessages & (this.refusedMessages - 1)) === 0;
    const fields = { from, problem, refused: this.refusedMessages };
    if (worthALine) this.log.warn(fields, "refused what a peer sent");
    else this.log.debug(fields, "refused what a peer sent");
  }

  private judge({ clusterId, memberId, instanceId }: Handshake): RpcError | null {
    const { replica } = this;
    if (clusterId !== replica.clusterId) return clusterMismatch(clusterId, replica.clusterId);
    const removed = this.expelled(memberId);
    if (removed !== null) return removed;
    const known = replica.roster.member(memberId);
    if (known === null || known.instanceId.length === 0) return null;
    if (sameBytes(known.instanceId, instanceId)) return null;
    const id = formatId(memberId);
    const message = `member ${known.name} (${id}) does not have the data directory it started with: remove it and add it again`;
    return refusalError({ reason: "MEMBER_WIPED", message, metadata: { id, name: known.name } });
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
