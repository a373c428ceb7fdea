/** Takes the view of the leader that admission.ts decides by. */
import type { NodeId } from "../../raft/index";
import type { ReplicaView } from "../../replica/view";
import type { Roster } from "../../roster/index";
import type { LeaderView } from "./admission";
import type { VoterHealth } from "./quorum_check";
import type { Submission } from "./submission";

/** What the write itself has come to, in the hands of the queue or of the submissions. */
export type Progress = Pick<LeaderView, "letIn" | "confirmed" | "joiner" | "handoverFailed">;

export const ARRIVED: Progress = {
  letIn: false,
  confirmed: false,
  joiner: "not asked",
  handoverFailed: false,
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
  of(submission: Submission, progress: Progress, waiting: number): LeaderView {
    const leadingTicks = this.options.replica.ticks - this.leadingSinceTick;
    return new View(this.options, submission, progress, waiting, leadingTicks);
  }
}

/** Reads what a decision asks for, and nothing else: most writes look at little of it. */
class View implements LeaderView {
  readonly roster: Roster;

  constructor(
    private readonly options: LeaderViewOptions,
    private readonly submission: Submission,
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
  get joiner(): LeaderView["joiner"] {
    return this.progress.joiner;
  }
  get handoverFailed(): boolean {
    return this.progress.handoverFailed;
  }
  get self(): NodeId {
    return this.options.replica.id;
  }
  get hasSpace(): boolean {
    return this.options.replica.hasSpace;
  }
  get waitingMax(): number {
    return this.options.waitingMax;
  }
  get voters(): readonly VoterHealth[] {
    return voterHealth(this.options.replica);
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
}

function voterHealth(replica: ReplicaView): VoterHealth[] {
  return replica.roster
    .members()
    .filter((member) => !member.learner)
    .map(({ id, name, started }) => {
      const inContactTicks =
        id === replica.id ? Infinity : replica.contacts.inContactTicks(id, replica.ticks);
      return { id, name, started, inContactTicks };
    });
}
