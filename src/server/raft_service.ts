/**
 * RaftService on the peer listener: members' streams, snapshots, Publish and Hello.
 *
 * Who may talk to this member is decided here, from the roster: another cluster's member, a removed one and a wiped one
 * are refused with a reason. An id that the roster does not have yet is let in (a joiner's roster is empty at first).
 * What a peer sends is counted and dropped where it is wrong; nothing of it ends this process.
 */
import { status } from "@grpc/grpc-js";
import type {
  HelloResponse,
  Handshake,
  PublishRequest,
  PublishResponse,
} from "../generated/muster/raft/v1/raft_service";
import { formatId, normaliseUrl, refuseInvalid, validateRequestId } from "../roster/index";
import type { Message, NodeId } from "../raft/index";
import { acceptExchange } from "../transport/exchange_acceptor";
import type { ExchangeHandle } from "../transport/exchange_acceptor";
import type { RaftServiceHandlers } from "../transport/service_definition";
import { SnapshotRefused, receiveSnapshot } from "../transport/snapshot_stream";
import { statusOfRefusal, statusWithReason } from "../transport/status_details";
import type { Refusal as WireRefusal } from "../transport/status_details";
import type { Clock } from "../base/clock";
import { GRPC_STATUS, RefusedError, refused } from "./errors";
import { unary } from "./interceptors/unary";
import type { UnaryOptions } from "./interceptors/unary";
import type { Logger } from "./logger";
import type { Node } from "./node";
import { publishWrite } from "./publisher";
import type { Writes } from "./writes";

/** What there is once this member knows who it is. */
export interface ServingMember {
  readonly node: Node;
  readonly writes: Writes;
}

export interface RaftServiceOptions {
  /** This member's configured name. */
  readonly name: string;
  /** Null while it waits to join. */
  readonly member: () => ServingMember | null;
  readonly clock: Clock;
  readonly log: Logger;
  readonly unary: UnaryOptions;
}

const VERSION_LENGTH_MAX = 64;
const INSTANCE_ID_BYTES = 16;

export class RaftServiceHost {
  readonly handlers: RaftServiceHandlers;
  private readonly streams = new Map<NodeId, ExchangeHandle>();
  private readonly open = new Set<ExchangeHandle>();
  private refusedMessages = 0;

  constructor(private readonly options: RaftServiceOptions) {
    this.handlers = {
      exchange: (call) => {
        this.exchange(call);
      },
      installSnapshot: (call, callback) => {
        this.installSnapshot(call, callback);
      },
      publish: unary<PublishRequest, PublishResponse>("Publish", options.unary, (request, context) => {
        const member = this.serving();
        const problem = this.checkPublish(request, member.node);
        if (problem !== null) throw problem;
        return member.writes.execute(publishWrite(request, options.unary.wallNow), context);
      }) as RaftServiceHandlers["publish"],
      hello: unary<object, HelloResponse>("Hello", options.unary, () => {
        const node = options.member()?.node;
        return Promise.resolve({
          name: options.name,
          clusterId: node?.clusterId ?? 0n,
          memberId: node?.id ?? 0n,
          waitingToJoin: node === undefined,
        });
      }) as RaftServiceHandlers["hello"],
    };
  }

  /** Messages and requests of peers that were refused since the start. */
  get refusedCount(): number {
    return this.refusedMessages;
  }

  /** Members that were removed meanwhile are told so: their streams end with the reason. */
  endRemoved(node: Node): void {
    for (const [id, handle] of [...this.streams]) {
      const refusal = removedRefusal(id, node);
      if (refusal !== null) handle.end(refusal);
    }
  }

  /** Ends every stream, so that the listener can close. */
  stop(): void {
    for (const handle of [...this.open]) handle.end(null);
  }

  private serving(): ServingMember {
    const member = this.options.member();
    if (member === null)
      throw refused("SERVER_STOPPING", "this member waits to join a cluster, and serves nothing yet");
    return member;
  }

  private exchange(call: Parameters<RaftServiceHandlers["exchange"]>[0]): void {
    const member = this.options.member();
    if (member === null) {
      call.emit("error", notServing());
      return;
    }
    const { node } = member;
    const handle: ExchangeHandle = acceptExchange(call, {
      memberId: node.id,
      clock: this.options.clock,
      check: (handshake) => this.check(handshake, node),
      onAccepted: (handshake) => {
        this.streams.get(handshake.memberId)?.end(null);
        this.streams.set(handshake.memberId, handle);
        this.meet(handshake, node);
      },
      onMessages: (from, messages) => {
        node.receive(from, messages);
      },
      onGarbage: (from, problem) => {
        this.refuse(from, problem);
      },
      onClosed: (from) => {
        this.open.delete(handle);
        if (this.streams.get(from) === handle) this.streams.delete(from);
      },
    });
    this.open.add(handle);
  }

  private installSnapshot(...[call, callback]: Parameters<RaftServiceHandlers["installSnapshot"]>): void {
    const member = this.options.member();
    if (member === null) {
      callback(notServing());
      return;
    }
    const { node } = member;
    receiveSnapshot(call, {
      memberId: node.id,
      clock: this.options.clock,
      // Before its data travel: on a full disk it would only wait, and every later vote behind it.
      check: (handshake) => this.check(handshake, node) ?? (node.hasSpace ? null : diskFull(node)),
    }).then(
      ({ handshake, message }: { handshake: Handshake; message: Message }) => {
        this.meet(handshake, node);
        node.receive(handshake.memberId, [message]);
        callback(null, {});
      },
      (error: unknown) => {
        this.refuse(0n, error instanceof Error ? error.message : String(error));
        callback(error instanceof SnapshotRefused ? statusOfRefusal(error.refusal) : notServing());
      },
    );
  }

  private meet(handshake: Handshake, node: Node): void {
    const url = normaliseUrl(handshake.peerUrl);
    if (url.ok) node.meet({ id: handshake.memberId, peerUrls: [url.url] });
  }

  private refuse(from: NodeId, problem: string): void {
    this.refusedMessages++;
    // A broken peer may send a lot of it: only the first of each power of two is worth a line.
    const worthALine = (this.refusedMessages & (this.refusedMessages - 1)) === 0;
    const fields = { from, problem, refused: this.refusedMessages };
    if (worthALine) this.options.log.warn(fields, "refused what a peer sent");
    else this.options.log.debug(fields, "refused what a peer sent");
  }

  private check(handshake: Handshake, node: Node): WireRefusal | null {
    const refusal = refusePeer(handshake, node);
    if (refusal !== null) {
      const { reason, text } = refusal;
      this.options.log.info(
        { from: handshake.memberId, reason, text, term: node.term, index: node.applied },
        "refused a peer's stream",
      );
    }
    return refusal;
  }

  private checkPublish(request: PublishRequest, node: Node): Error | null {
    const violations = [];
    if (request.instanceId.length !== INSTANCE_ID_BYTES) {
      violations.push({ field: "instance_id", description: "must have 16 bytes" });
    }
    if (request.version === "" || request.version.length > VERSION_LENGTH_MAX) {
      violations.push({
        field: "version",
        description: `must have 1 to ${String(VERSION_LENGTH_MAX)} characters`,
      });
    }
    const idProblem = request.requestId === "" ? "required" : validateRequestId(request.requestId);
    if (idProblem !== null) violations.push({ field: "request_id", description: idProblem });
    for (const [i, url] of request.adminUrls.entries()) {
      const result = normaliseUrl(url);
      if (!result.ok) violations.push({ field: `admin_urls[${String(i)}]`, description: result.problem });
    }
    if (violations.length > 0) return new RefusedError(refuseInvalid(violations));
    if (request.clusterId === node.clusterId) return null;
    return refused("CLUSTER_ID_MISMATCH", otherCluster(request.clusterId, node.clusterId), {
      cluster_id: formatId(node.clusterId),
    });
  }
}

/** Why a member may not talk to this one, or null. */
function refusePeer({ clusterId, memberId, instanceId }: Handshake, node: Node): WireRefusal | null {
  if (clusterId !== node.clusterId) {
    return wireRefusal("CLUSTER_ID_MISMATCH", otherCluster(clusterId, node.clusterId), {
      cluster_id: formatId(node.clusterId),
    });
  }
  const removed = removedRefusal(memberId, node);
  if (removed !== null) return removed;
  const known = node.roster.member(memberId);
  if (known === null || known.instanceId.length === 0) return null;
  if (Buffer.from(known.instanceId).equals(Buffer.from(instanceId))) return null;
  const id = formatId(memberId);
  return wireRefusal(
    "MEMBER_WIPED",
    `member ${known.name} (${id}) does not have the data directory it started with: remove it and add it again`,
    { id, name: known.name },
  );
}

function removedRefusal(memberId: NodeId, node: Node): WireRefusal | null {
  const tombstone = node.roster.tombstone(memberId);
  if (tombstone === null || node.isLeaving(memberId)) return null;
  const id = formatId(memberId);
  const revision = String(tombstone.revision);
  const text = `member ${id} (${tombstone.name}) was permanently removed at revision ${revision}`;
  return wireRefusal("MEMBER_REMOVED", text, { id, name: tombstone.name, revision });
}

function diskFull(node: Node): WireRefusal {
  return {
    code: GRPC_STATUS.DISK_FULL,
    reason: "DISK_FULL",
    text: `the disk of member ${formatId(node.id)} is full; it takes no snapshot until there is space`,
    metadata: {},
  };
}

function wireRefusal(
  reason: "CLUSTER_ID_MISMATCH" | "MEMBER_REMOVED" | "MEMBER_WIPED",
  text: string,
  metadata: Readonly<Record<string, string>>,
): WireRefusal {
  return { code: GRPC_STATUS[reason], reason, text, metadata };
}

function otherCluster(theirs: bigint, ours: bigint): string {
  return `this member belongs to cluster ${formatId(ours)}, the sender to ${formatId(theirs)}; check the peer URLs`;
}

function notServing() {
  return statusWithReason(status.UNAVAILABLE, "SERVER_STOPPING", "this member waits to join a cluster", {});
}
