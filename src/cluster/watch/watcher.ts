/** One watch: how far its caller is, and what it is still to get. It has no queue of its own. */
import type { WatchMembersResponse } from "../../generated/muster/v1/membership_service";
import type { ResponseSink } from "../../rpc/definition";
import type { WatchFields } from "../../roster/index";

export type WatchSink = Pick<ResponseSink<WatchMembersResponse>, "push">;

export class Watcher {
  readonly withLeader: boolean;
  readonly withProgress: boolean;
  /** Every change up to this revision is written or was not asked for. */
  revision: number;
  rosterDue: boolean;
  leaderDue: boolean;
  markDue: boolean;
  /** Whether no change was written since the last mark was due. */
  isQuiet = true;
  /** Whether the connection has not taken the last message yet. */
  isWriting = false;
  /** Whether it is among those that get their next message soon. */
  isQueued = false;
  hasEnded = false;
  /** Passed with every message: one function for all of them, since ten thousand watches may get one at a time. */
  private readonly taken: (error?: Error | null) => void;

  /**
   * @param onTaken the connection has taken the last message, and there is room for the next
   * @param end ends the call with an error
   */
  constructor(
    { startRevision, withLeader, withProgress }: WatchFields,
    private readonly sink: WatchSink,
    onTaken: (watcher: Watcher) => void,
    readonly end: (error: Error) => void,
  ) {
    this.taken = (error) => {
      // The connection is gone: the end of the call follows.
      if (error != null) return;
      this.isWriting = false;
      if (!this.hasEnded) onTaken(this);
    };
    this.revision = startRevision ?? 0;
    this.rosterDue = startRevision === null;
    this.withLeader = withLeader;
    this.withProgress = withProgress;
    this.leaderDue = withLeader;
    this.markDue = withProgress;
  }

  write(message: Buffer): void {
    this.isWriting = true;
    this.sink.push(message, this.taken);
  }

  /** Whether there is something to write. @param head the revision of the roster */
  isBehind(head: number): boolean {
    return this.rosterDue || this.revision < head || this.leaderDue || this.markDue;
  }
}
