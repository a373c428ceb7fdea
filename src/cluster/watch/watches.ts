/**
 * The watches on one member. The kept changes of the roster are the one history of all of them; a watch is a revision in
 * it (watcher.ts), and its messages are encoded once for all (encoded_steps.ts).
 *
 * Invariants: a caller gets every change after its first revision once, in order, or an error; leader and marks come only
 * after all changes up to the roster's revision. A watch has at most one message that its connection has not taken, so
 * one whose caller stopped reading costs no more than that, until the history has passed it.
 *
 * Writing is spread over many turns of the event loop: ten thousand messages in one would hold up the heartbeats.
 */
import type { Call } from "../../base/call";
import { CALL_CANCELLED } from "../../base/call";
import type { Clock, Timer } from "../../base/clock";
import type { NodeId } from "../../raft/index";
import type { ReplicaView } from "../../replica/view";
import { type RefusedError, refused, toMember } from "../../roster/index";
import type { WatchFields } from "../../roster/index";
import { refusalError } from "../../rpc/rpc_error";
import type { RpcError } from "../../rpc/rpc_error";
import { responseHeader } from "../response_header";
import type { WaitingRoom } from "../waiting_room";
import { EncodedSteps } from "./encoded_steps";
import type { KeptChanges } from "./encoded_steps";
import { SharedMessage } from "./shared_message";
import { Watcher } from "./watcher";
import type { WatchSink } from "./watcher";

/** So many messages are written in one turn: a few milliseconds. */
const MESSAGES_PER_TURN = 128;
/** A mark is due when a watch got no change for this long, in milliseconds; at most twice as long passes. */
export const PROGRESS_MS = 5000;

interface WatchesOptions {
  readonly replica: ReplicaView;
  /** The roster as it is now: another object after a snapshot was installed. */
  readonly changes: () => KeptChanges;
  readonly clock: Clock;
  /** Runs a function soon, in a turn of its own. */
  readonly defer: (fn: () => void) => void;
  /** Bounds the watches on this member; more are refused with TOO_MANY_REQUESTS. */
  readonly room: WaitingRoom;
}

export class Watches {
  private readonly all = new Set<Watcher>();
  /** Those that get their next message soon, each at most once. */
  private queue: Watcher[] = [];
  /** Whether a turn for writing is asked for. */
  private isAwake = false;
  /** Whether every watch is to be looked at again: there are changes, another leader, or marks are due. */
  private isStale = false;
  private revisionSeen: number;
  private leaderSeen: NodeId;
  private marks: Timer | null = null;
  private stopped: RpcError | null = null;
  private readonly steps: EncodedSteps;
  private readonly rosterMessage: SharedMessage;
  private readonly leaderMessage: SharedMessage;
  private readonly markMessage: SharedMessage;

  constructor(private readonly options: WatchesOptions) {
    const { replica } = options;
    this.revisionSeen = options.changes().revision;
    this.leaderSeen = replica.leader;
    this.steps = new EncodedSteps((revision) => responseHeader(replica, revision));
    this.rosterMessage = new SharedMessage(replica, () => ({
      $case: "roster",
      value: { members: replica.roster.members().map(toMember) },
    }));
    this.leaderMessage = new SharedMessage(replica, ({ leaderId }) => ({
      $case: "leader",
      value: { leaderId },
    }));
    this.markMessage = new SharedMessage(replica, ({ leaderId }) => ({
      $case: "progress",
      value: { hasLeader: leaderId !== "" },
    }));
    replica.listen({
      onApplied: () => {
        this.noticeChange();
      },
      onLeadership: () => {
        this.noticeLeader();
      },
    });
  }

  /** The open watches. */
  get size(): number {
    return this.all.size;
  }

  /**
   * Writes to the sink until the caller goes away, which the promise reports as a rejection, as everything that ends a
   * watch.
   *
   * @throws RefusedError TOO_MANY_REQUESTS, REVISION_COMPACTED; RpcError REVISION_COMPACTED, SERVER_STOPPING;
   *   CallCancelledError
   */
  async watch(fields: WatchFields, call: Pick<Call, "onCancel">, sink: WatchSink): Promise<never> {
    const { room, changes } = this.options;
    if (this.stopped !== null) throw this.stopped;
    const { startRevision } = fields;
    const { oldestRevision } = changes();
    if (startRevision !== null && startRevision < oldestRevision) throw compacted(oldestRevision);
    room.enter();
    try {
      await new Promise<never>((_, reject) => {
        const watcher = new Watcher(fields, sink, this.onTaken, reject);
        this.all.add(watcher);
        call.onCancel(() => {
          this.end(watcher, CALL_CANCELLED);
        });
        this.enqueue(watcher);
        if (watcher.withProgress) this.startMarks();
      });
      throw new Error("a watch ended without an error");
    } finally {
      room.leave();
    }
  }

  /** Ends every watch, and refuses further ones. */
  stop(): void {
    if (this.stopped !== null) return;
    this.stopped = refusalError({
      reason: "SERVER_STOPPING",
      message: "this member is stopping; watch at another one, from the last revision that you have",
      metadata: {},
    });
    this.marks?.cancel();
    this.marks = null;
    for (const watcher of this.all) this.end(watcher, this.stopped);
    this.queue = [];
  }

  // --- What is new --------------------------------------------------------------------------------------------------

  private noticeChange(): void {
    const { revision } = this.options.changes();
    if (revision === this.revisionSeen) return;
    this.revisionSeen = revision;
    if (this.all.size > 0) this.lookAgain();
  }

  private noticeLeader(): void {
    const { leader } = this.options.replica;
    if (leader === this.leaderSeen) return;
    this.leaderSeen = leader;
    let any = false;
    for (const watcher of this.all) {
      if (!watcher.withLeader) continue;
      watcher.leaderDue = true;
      any = true;
    }
    if (any) this.lookAgain();
  }

  /** Runs as long as there are watches that asked for marks. */
  private startMarks(): void {
    this.marks ??= this.options.clock.setTimeout(() => {
      this.marks = null;
      let any = false;
      for (const watcher of this.all) {
        if (!watcher.withProgress) continue;
        any = true;
        watcher.markDue ||= watcher.isQuiet;
        watcher.isQuiet = true;
      }
      if (!any) return;
      this.lookAgain();
      this.startMarks();
    }, PROGRESS_MS);
  }

  private lookAgain(): void {
    this.isStale = true;
    this.wake();
  }

  // --- Writing ------------------------------------------------------------------------------------------------------

  private wake(): void {
    if (this.isAwake || this.stopped !== null) return;
    this.isAwake = true;
    this.options.defer(() => {
      this.isAwake = false;
      this.turn();
    });
  }

  private enqueue(watcher: Watcher): void {
    if (watcher.isQueued || watcher.isWriting || watcher.hasEnded) return;
    watcher.isQueued = true;
    this.queue.push(watcher);
    this.wake();
  }

  /** One turn of writing. */
  private turn(): void {
    if (this.isStale && this.queue.length === 0) this.queueAll();
    const rest = this.queue.splice(MESSAGES_PER_TURN);
    const now = this.queue;
    this.queue = rest;
    for (const watcher of now) {
      watcher.isQueued = false;
      this.writeNext(watcher);
    }
    if (this.queue.length > 0 || this.isStale) this.wake();
  }

  /** Queues every watch that has something to get. Ends those that the history has passed while they wait to be read. */
  private queueAll(): void {
    this.isStale = false;
    const changes = this.options.changes();
    const { revision, oldestRevision } = changes;
    let error: RpcError | null = null;
    for (const watcher of this.all) {
      if (!watcher.rosterDue && watcher.revision < oldestRevision)
        this.end(watcher, (error ??= compactedError(oldestRevision)));
      else if (watcher.isBehind(revision)) this.enqueue(watcher);
    }
  }

  private writeNext(watcher: Watcher): void {
    if (watcher.hasEnded) return;
    const bytes = this.nextMessage(watcher);
    if (bytes !== null) watcher.write(bytes);
  }

  private readonly onTaken = (watcher: Watcher): void => {
    if (watcher.isBehind(this.options.changes().revision)) this.enqueue(watcher);
  };

  /** The next message of the watch, which counts as written then; null when there is none, or the watch has ended. */
  private nextMessage(watcher: Watcher): Buffer | null {
    const changes = this.options.changes();
    if (watcher.rosterDue) {
      watcher.rosterDue = false;
      watcher.revision = changes.revision;
      return this.rosterMessage.bytes;
    }
    if (watcher.revision < changes.revision) return this.nextChanges(watcher, changes);
    if (watcher.leaderDue) {
      watcher.leaderDue = false;
      return this.leaderMessage.bytes;
    }
    if (!watcher.markDue) return null;
    watcher.markDue = false;
    return this.markMessage.bytes;
  }

  private nextChanges(watcher: Watcher, changes: KeptChanges): Buffer | null {
    const message = this.steps.after(watcher.revision, changes);
    if (message === null) {
      this.end(watcher, compactedError(changes.oldestRevision));
      return null;
    }
    watcher.revision = message.revision;
    watcher.isQuiet = false;
    return message.bytes;
  }

  private end(watcher: Watcher, error: Error): void {
    if (watcher.hasEnded) return;
    watcher.hasEnded = true;
    this.all.delete(watcher);
    watcher.end(error);
  }
}

/** A watch that begins too early. */
function compacted(oldestRevision: number): RefusedError {
  const { message, metadata } = compactedFields(oldestRevision);
  return refused("REVISION_COMPACTED", message, metadata);
}

/** The end of a watch that was open: not logged, since many may end at once. */
function compactedError(oldestRevision: number): RpcError {
  return refusalError({ reason: "REVISION_COMPACTED", ...compactedFields(oldestRevision) });
}

function compactedFields(oldestRevision: number) {
  const oldest = String(oldestRevision);
  return {
    message:
      `changes that come next in this watch are no longer kept: the oldest start_revision is ${oldest}; ` +
      "watch again without one, and compare the roster with the one you have",
    metadata: { oldest_revision: oldest },
  };
}
