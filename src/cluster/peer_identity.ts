/**
 * Whether another member is the one that it was before: the same data directory, not an older copy of it, and one
 * process only.
 *
 * Invariants: no message of a data directory reaches the replica before it is on this member's disk that it was met, so
 * that after any crash a second directory under the same id is known as such; messages wait for that, a bounded number.
 * What a member answered is on its disk, so its term never falls below the highest in which it answered. What the roster
 * says of a member's directory and boot id is newer than what was met.
 *
 * Why: docs/adr/0015-boot-ids.md and docs/adr/0016-met-instances.md
 */
import type { Log } from "../base/log";
import type { Handshake } from "../generated/muster/raft/v1/raft_service";
import { MessageType } from "../raft/index";
import type { Message, NodeId } from "../raft/index";
import type { Replica } from "../replica/replica";
import { descendsFrom, formatId, sameBytes } from "../roster/index";
import type { MemberRecord } from "../roster/index";
import { RpcError, StatusCode, refusalError } from "../rpc/rpc_error";
import type { MetInstance } from "../storage/member_files";

/** Where it is kept which data directories were met: the file of storage/member_files.ts, or a test's memory. */
export interface MetStore {
  /** What was written last. */
  readonly initial: readonly MetInstance[];
  /** Durable when the promise resolves. */
  write(met: readonly MetInstance[]): Promise<void>;
}

/** The last accepted stream of a member. */
interface Seen {
  readonly handshake: Handshake;
  open: boolean;
  lastTick: number;
  /** Highest term in which this data directory answered. */
  term: number;
}

interface Pending {
  readonly instanceId: Uint8Array;
  readonly held: Message[];
}

/** Messages of one member that wait while it is written that it was met. More are dropped; Raft sends them again. */
const HELD_MAX = 64;
/** Most members of which something is kept; beyond it the oldest go that the roster does not list. */
const MEMBERS_MAX = 1024;

/** Messages that leave a member only when the term in them is on its disk (docs/raft.md). */
const ANSWERS: ReadonlySet<MessageType> = new Set([MessageType.AppendResponse, MessageType.VoteResponse]);

export class PeerIdentities {
  private met: ReadonlyMap<NodeId, Uint8Array>;
  private readonly pending = new Map<NodeId, Pending>();
  private readonly seen = new Map<NodeId, Seen>();
  /** The pairs of processes of one member that were logged. */
  private readonly warned = new Set<string>();
  private writing: Promise<void> | null = null;
  /** No write is tried before this tick: the last one failed. */
  private retryTick = 0;

  /** @param store null: what was met is kept in memory only */
  constructor(
    private readonly replica: Replica,
    private readonly log: Log,
    private readonly store: MetStore | null,
  ) {
    const initial = store?.initial ?? [];
    this.met = new Map(initial.map(({ memberId, instanceId }) => [memberId, instanceId]));
  }

  /** Why this handshake is not that of the member as it is known; null when it fits. */
  judge(handshake: Handshake): RpcError | null {
    const { memberId: id } = handshake;
    const known = this.replica.roster.member(id);
    const instance = this.knownInstance(id);
    if (instance !== null && !sameBytes(instance, handshake.instanceId)) return wiped(known, id);
    return this.judgeBoot(handshake, known) ?? this.judgeTerm(handshake, known) ?? this.judgeTwin(handshake);
  }

  /** Why a member whose stream was accepted may not talk to this one any more; null while it may. */
  expelled(id: NodeId): RpcError | null {
    const seen = this.seen.get(id);
    return seen === undefined ? null : this.judgeBoot(seen.handshake, this.replica.roster.member(id));
  }

  /** Whether another data directory of the member is known than this one. Empty: any counts. */
  metAnother(id: NodeId, instanceId: Uint8Array): boolean {
    const { roster } = this.replica;
    if (roster.tombstone(id) !== null) return true;
    const known = this.knownInstance(id);
    return known !== null && !sameBytes(known, instanceId);
  }

  /** Whether this is the data directory that the roster has of the member, or that was met. */
  isKnown(id: NodeId, instanceId: Uint8Array): boolean {
    const known = this.knownInstance(id);
    return known !== null && sameBytes(known, instanceId);
  }

  accepted(handshake: Handshake): void {
    const { memberId: id, instanceId } = handshake;
    const before = this.seen.get(id);
    const same = before !== undefined && sameBytes(before.handshake.instanceId, instanceId);
    const term = same ? before.term : 0;
    this.seen.delete(id);
    this.seen.set(id, { handshake, open: true, lastTick: this.replica.ticks, term });
    forgetOldest(this.seen, (other) => this.replica.roster.member(other) !== null);
    if (!this.hasMet(id, instanceId)) this.meet(id, instanceId);
  }

  closed(id: NodeId): void {
    const seen = this.seen.get(id);
    if (seen !== undefined) seen.open = false;
  }

  /** Hands messages to the replica, now or when it is on the disk that their sender was met. */
  receive(from: NodeId, messages: readonly Message[]): void {
    const seen = this.seen.get(from);
    if (seen === undefined) {
      this.replica.receive(from, messages);
      return;
    }
    seen.lastTick = this.replica.ticks;
    const { instanceId } = seen.handshake;
    if (!this.hasMet(from, instanceId)) this.hold(from, instanceId, messages);
    else this.take(from, messages);
  }

  /** Settles when no write is under way. The directory's lock must be held until then. Never rejects. */
  async settled(): Promise<void> {
    await this.writing;
  }

  // --- Which data directory -------------------------------------------------------------------------------------------

  private knownInstance(id: NodeId): Uint8Array | null {
    const published = this.replica.roster.member(id)?.instanceId;
    if (published !== undefined && published.length > 0) return published;
    return this.pending.get(id)?.instanceId ?? this.met.get(id) ?? null;
  }

  private hasMet(id: NodeId, instanceId: Uint8Array): boolean {
    const met = this.met.get(id);
    return met !== undefined && sameBytes(met, instanceId);
  }

  private hold(from: NodeId, instanceId: Uint8Array, messages: readonly Message[]): void {
    this.meet(from, instanceId);
    const held = this.pending.get(from)?.held;
    if (held === undefined) return;
    held.push(...messages.slice(0, Math.max(0, HELD_MAX - held.length)));
  }

  private meet(id: NodeId, instanceId: Uint8Array): void {
    const pending = this.pending.get(id);
    if (pending !== undefined && sameBytes(pending.instanceId, instanceId)) return;
    if (this.replica.ticks < this.retryTick) return;
    this.pending.set(id, { instanceId, held: [] });
    if (this.store === null) this.wrote(this.withPending());
    else this.writing ??= this.write(this.store);
  }

  private withPending(): ReadonlyMap<NodeId, Uint8Array> {
    const next = new Map(this.met);
    for (const [id, { instanceId }] of this.pending) {
      next.delete(id);
      next.set(id, instanceId);
    }
    forgetOldest(next, (id) => this.replica.roster.member(id) !== null);
    return next;
  }

  private async write(store: MetStore): Promise<void> {
    while (this.pending.size > 0) {
      const next = this.withPending();
      try {
        await store.write([...next].map(([memberId, instanceId]) => ({ memberId, instanceId })));
        this.wrote(next);
      } catch (error) {
        this.pending.clear();
        this.retryTick = this.replica.ticks + this.replica.electionTicks;
        const fields = { problem: error instanceof Error ? error.message : String(error) };
        this.log.warn(fields, "it can't be written which members were met: their messages are not taken yet");
      }
    }
    this.writing = null;
  }

  private wrote(next: ReadonlyMap<NodeId, Uint8Array>): void {
    this.met = next;
    for (const [id, { instanceId, held }] of [...this.pending]) {
      if (!this.hasMet(id, instanceId)) continue;
      this.pending.delete(id);
      if (held.length > 0) this.take(id, held);
    }
  }

  // --- Which copy of it -----------------------------------------------------------------------------------------------

  private judgeBoot(
    { bootId, previousBootIds, bootRevision }: Handshake,
    known: MemberRecord | null,
  ): RpcError | null {
    // The sender's directory knows of a publish that this member has not applied yet: nothing to compare.
    if (known === null || known.bootRevision <= bootRevision) return null;
    return descendsFrom(known.bootId, bootId, previousBootIds) ? null : rolledBack(known, known.id);
  }

  private judgeTerm({ memberId, instanceId, term }: Handshake, known: MemberRecord | null): RpcError | null {
    const seen = this.seen.get(memberId);
    if (term === 0 || seen === undefined || term >= seen.term) return null;
    return sameBytes(seen.handshake.instanceId, instanceId) ? rolledBack(known, memberId) : null;
  }

  /** Two processes of one member at a time: the second waits until the first is silent. */
  private judgeTwin({ memberId, bootId }: Handshake): RpcError | null {
    const { ticks, electionTicks } = this.replica;
    const seen = this.seen.get(memberId);
    if (seen?.open !== true || ticks - seen.lastTick >= electionTicks) return null;
    const first = seen.handshake.bootId;
    if (sameBytes(first, bootId)) return null;
    const text = `another process runs as member ${formatId(memberId)}; this one is let in when that one is silent`;
    const pair = [memberId, hexOf(first), hexOf(bootId)].join();
    if (!this.warned.has(pair) && this.warned.size < MEMBERS_MAX) {
      this.warned.add(pair);
      const fields = { id: memberId, peer_url: seen.handshake.peerUrl };
      this.log.warn(fields, "a second process connects as this member while the first one is connected");
    }
    return new RpcError(StatusCode.UNAVAILABLE, text, null);
  }

  private take(from: NodeId, messages: readonly Message[]): void {
    this.replica.receive(from, messages);
    const seen = this.seen.get(from);
    if (seen === undefined) return;
    for (const { type, term } of messages) {
      // A term above this member's is one that it refused to believe.
      if (ANSWERS.has(type) && term > seen.term && term <= this.replica.term) seen.term = term;
    }
  }
}

/** Keeps a map within MEMBERS_MAX: the oldest go that are not listed. */
function forgetOldest(map: Map<NodeId, unknown>, isListed: (id: NodeId) => boolean): void {
  if (map.size <= MEMBERS_MAX) return;
  for (const id of map.keys()) {
    if (map.size <= MEMBERS_MAX) return;
    if (!isListed(id)) map.delete(id);
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function who(known: MemberRecord | null, id: NodeId): { text: string; metadata: Record<string, string> } {
  const metadata = { id: formatId(id), name: known?.name ?? "" };
  return { text: `member ${metadata.name} (${metadata.id})`, metadata };
}

function wiped(known: MemberRecord | null, id: NodeId): RpcError {
  const { text, metadata } = who(known, id);
  const message = `${text} does not have the data directory it started with: remove it and add it again`;
  return refusalError({ reason: "MEMBER_WIPED", message, metadata });
}

function rolledBack(known: MemberRecord | null, id: NodeId): RpcError {
  const { text, metadata } = who(known, id);
  const message =
    `${text} runs from an older copy of its data directory, or a second process runs from a copy: ` +
    "stop it, remove the member and add it again with an empty data directory";
  return refusalError({ reason: "MEMBER_ROLLED_BACK", message, metadata });
}
