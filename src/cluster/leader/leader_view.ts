/** Takes the view of the leader that admission.ts decides by. */
import type { NodeId } from "../../raft/index";
import type { ReplicaView } from "../../replica/view";
import type { Roster } from "../../roster/index";
import type { LeaderView } from "./admission";
import { leavesFullDisk } from "./disk_handover";
import type { VoterHealth } from "./quorum_check";
import type { LearnerHealth } from "./readiness";
import type { Submission } from "./submission";

/** What the write itself has come to, in the hands of the queue or of the submissions. */
export type Progress = Pick<LeaderView, "letIn" | "confirmed" | "urlAnswer" | "handoverFailed"> & {
  /** When it first had to wait for time only; null before. */
  readonly waitingSinceTick: number | null;
  /** The last member that did not take the leadership, and when that was given up. */
  readonly failedSuccessor: { readonly id: NodeId; readonly tick: number } | null;
};

export const ARRIVED: Progress = {
  letIn: false,
  confirmed: false,
  urlAnswer: "not asked",
  handoverFailed: false,
  waitingSinceTick: null,
  failedSuccessor: null,
};

interface LeaderViewOptions {
  readonly replica: ReplicaView;
  readonly roster: () => Roster;
  readonly heartbeatMs: number;
  readonly waitingMax: number;
}

export class LeaderViews {
  private leadingSinceTick = 0;
  private wasLeader = false;

  constructor(private readonly options: LeaderViewOptions) {
    const { replica } = options;
    replica.listen({
      onLeadership: () => {
        if (replica.isLeader && !this.wasLeader) this.leadingSinceTick = replica.ticks;
        this.wasLeader = replica.isLeader;
      },
    });
  }

  /** @param waiting writes that wait on this member */
  of(submission: Pick<Submission, "deadline">, progress: Progress, waiting: number): LeaderView {
    const leadingTicks = this.options.replica.ticks - this.leadingSinceTick;
    return new View(this.options, submission, progress, waiting, leadingTicks);
  }
}

/** Reads what a decision asks for, and nothing else: most writes look at little of it. */
class View implements LeaderView {
  readonly roster: Roster;

  constructor(
    private readonly options: LeaderViewOptions,
    private readonly submission: Pick<Submission, "deadline">,
    private readonly progress: Progress,
    readonly waiting: number,
    readonly leadingTicks: number,
  ) {
    this.roster = options.roster();
  }

  get letIn(): boolean {
    return this.progress.letIn;
  }
  get confirmed(): boolean {
    return this.progress.confirmed;
  }
  get urlAnswer(): LeaderView["urlAnswer"] {
    return this.progress.urlAnswer;
  }
  get waitedTicks(): number {
    const { waitingSinceTick } = this.progress;
    return waitingSinceTick === null ? 0 : this.options.replica.ticks - waitingSinceTick;
  }
  get handoverFailed(): boolean {
    return this.progress.handoverFailed;
  }
  get self(): NodeId {
    return this.options.replica.id;
  }
  get clusterId(): bigint {
    return this.options.replica.clusterId;
  }
  get hasSpace(): boolean {
    return this.options.replica.hasSpace;
  }
  get handsOver(): boolean {
    return leavesFullDisk(this.options.replica);
  }
  get waitingMax(): number {
    return this.options.waitingMax;
  }
  get voters(): readonly VoterHealth[] {
    return this.health(false);
  }
  get learners(): readonly LearnerHealth[] {
    const { replica } = this.options;
    const { progress, lastIndex, pendingConfIndex } = replica.status();
    return this.health(true).map((learner) => {
      const match = progress.get(learner.id)?.match ?? 0;
      return {
        ...learner,
        lagEntries: Math.max(0, lastIndex - match),
        // Where a new leader can't tell which entries of before are changes it counts its whole log.
        holdsNewestChange: match >= pendingConfIndex,
        hasSpace: !replica.disks.isFull(learner.id),
      };
    });
  }
  get electionTicks(): number {
    return this.options.replica.electionTicks;
  }
  get heartbeatMs(): number {
    return this.options.heartbeatMs;
  }
  get remainingTicks(): number {
    return this.submission.deadline.remainingMs() / this.options.heartbeatMs;
  }

  private health(learners: boolean): VoterHealth[] {
    const { replica } = this.options;
    const { failedSuccessor } = this.progress;
    return replica.roster
      .members()
      .filter((member) => member.learner === learners)
      .map(({ id, name, started }) => {
        const inContactTicks =
          id === replica.id ? Infinity : replica.contacts.inContactTicks(id, replica.ticks);
        const isDoubtful =
          id === failedSuccessor?.id && !replica.contacts.heardAfter(id, failedSuccessor.tick);
        return {
          id,
          name,
          started,
          inContactTicks: isDoubtful ? doubtful(inContactTicks, replica) : inContactTicks,
        };
      });
  }
}

/**
 * The contact of a member that did not take the leadership, until it is heard again: it may have died meanwhile, which
 * shows only an election timeout after its last message. One tick short of healthy, so that the check waits.
 */
function doubtful(inContactTicks: number | null, { electionTicks }: ReplicaView): number | null {
  return inContactTicks === null ? null : Math.min(inContactTicks, 2 * electionTicks - 1);
}
