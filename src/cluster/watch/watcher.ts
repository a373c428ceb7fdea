/** One watch: how far its caller is, and what it is still to get. It has no queue of its own. */
import type { ResponseSink } from "../../rpc/definition";
import type { WatchFields } from "../../roster/index";

type Push = ResponseSink<never>["push"];

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

  /**
   * @param push writes one message
   * @param end ends the call with an error
   */
  constructor(
    { startRevision, withLeader, withProgress }: WatchFields,
    readonly push: Push,
    readonly end: (error: Error) => void,
  ) {
    this.revision = startRevision ?? 0;
    this.rosterDue = startRevision === null;
    this.withLeader = withLeader;
    this.withProgress = withProgress;
    this.leaderDue = withLeader;
    this.markDue = withProgress;
  }

  /** Whether there is something to write. @param head the revision of the roster */
  isBehind(head: number): boolean {
    return this.rosterDue || this.revision < head || this.leaderDue || this.markDue;
  }
}
