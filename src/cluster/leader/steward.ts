/**
 * What the leader does by itself: it makes a voter of each learner that is to become one, as soon as the learner is ready.
 *
 * One thing at a time, through the queue and the checks of a caller's change. What is to be done follows from the roster
 * alone, so that the next leader goes on where this one stopped; only how long to wait after a refusal is kept here.
 * Invariant: the number of voters never falls by it. Two leaders can't promote a member twice: apply takes a promotion of a
 * voter as no change, and one without a request id leaves no trace then.
 */
import type { Clock } from "../../base/clock";
import { Deadline } from "../../base/deadline";
import type { Log } from "../../base/log";
import type { Outcome } from "../../base/outcome";
import type { NodeId } from "../../raft/index";
import type { ReplicaListener, ReplicaView } from "../../replica/view";
import { MemberTarget, promoteMemberCommand } from "../../roster/index";
import type { MemberRecord, RosterCommand } from "../../roster/index";
import type { CommandSource } from "../publish";
import { checkChange } from "./change_check";
import type { CheckView } from "./change_check";
import { readinessOf } from "./readiness";
import type { Accepted, Submission } from "./submission";
import type { Submissions } from "./submissions";

interface StewardOptions extends CommandSource {
  readonly replica: Pick<
    ReplicaView,
    "id" | "isLeader" | "ticks" | "electionTicks" | "term" | "applied" | "roster"
  > & {
    readonly confChangeAllowed: boolean;
    listen(listener: ReplicaListener): () => void;
  };
  readonly submissions: Pick<Submissions, "submit">;
  /** What the check of a change that this member makes now may read. */
  readonly view: (deadline: Deadline) => CheckView;
  readonly clock: Clock;
  readonly electionMs: number;
  readonly log: Log;
}

/** A member whose promotion was refused, or did not come about. */
interface Pause {
  readonly untilTick: number;
  readonly elections: number;
}

/** The caller, in the history, of what the leader does by itself. */
const STEWARD = "steward";

/** The longest pause after a refusal, in election timeouts: what was wrong is often mended by then. */
const PAUSE_ELECTIONS_MAX = 32;

export class Steward {
  private busy = false;
  private readonly pauses = new Map<NodeId, Pause>();

  /** Looks at every tick, for as long as the replica runs. */
  constructor(private readonly options: StewardOptions) {
    options.replica.listen({
      onTick: () => {
        this.tick();
      },
      onLeadership: () => {
        if (!options.replica.isLeader) this.pauses.clear();
      },
    });
  }

  private tick(): void {
    const { replica } = this.options;
    if (this.busy || !replica.isLeader || !replica.confChangeAllowed) return;
    const waiting = promotable(replica.roster.members()).filter(({ id }) => !this.isPaused(id));
    if (waiting.length === 0) return;
    const { clock, electionMs, view: viewFor } = this.options;
    const deadline = Deadline.of(clock, null, electionMs);
    const view = viewFor(deadline);
    const next = nextPromotion(waiting, view);
    if (next !== null) this.promote(next, deadline);
  }

  private isPaused(id: NodeId): boolean {
    return (this.pauses.get(id)?.untilTick ?? 0) > this.options.replica.ticks;
  }

  private promote(member: MemberRecord, deadline: Deadline): void {
    const { submissions, random, wallNow } = this.options;
    const head = { proposalId: random.u64(), timeMs: wallNow() };
    const submission: Submission = { command: promotion(member, head), validateOnly: false, deadline };
    this.busy = true;
    void submissions.submit(submission).outcome.then((outcome) => {
      this.busy = false;
      this.noteOutcome(member, outcome);
    });
  }

  private noteOutcome({ id, name }: MemberRecord, outcome: Outcome<Accepted>): void {
    const { replica, log } = this.options;
    const fields = { member: id, name, term: replica.term, index: replica.applied };
    if (outcome.kind === "done") {
      this.pauses.delete(id);
      if (outcome.value.changed) log.info(fields, "the learner was ready: it is a voter now");
      return;
    }
    const elections = Math.min(PAUSE_ELECTIONS_MAX, 2 * (this.pauses.get(id)?.elections ?? 1));
    this.pauses.set(id, { untilTick: replica.ticks + elections * replica.electionTicks, elections });
    log.info({ ...fields, why: reasonOf(outcome) }, "the learner was ready, and is not promoted yet");
  }
}

/** The members that are to become voters, oldest first. One that has not started can't be ready. */
function promotable(members: readonly MemberRecord[]): MemberRecord[] {
  return members
    .filter(({ learner, target, started }) => learner && started && target === MemberTarget.UNSPECIFIED)
    .sort((a, b) => a.createRevision - b.createRevision);
}

/**
 * The first member that is ready, and whose promotion would pass the check now: what would have to wait at the head of the
 * queue would hold up the changes of callers.
 */
function nextPromotion(waiting: readonly MemberRecord[], view: CheckView): MemberRecord | null {
  for (const member of waiting) {
    const learner = view.learners.find(({ id }) => id === member.id);
    if (learner === undefined || !readinessOf(learner, view.electionTicks).ready) continue;
    if (checkChange(promotion(member, { proposalId: 0n, timeMs: 0 }), view).kind === "ok") return member;
  }
  return null;
}

/** Without a request id: see the invariant above. */
function promotion({ id }: MemberRecord, head: { proposalId: bigint; timeMs: number }): RosterCommand {
  return promoteMemberCommand({ ...head, caller: STEWARD }, { member: { id, name: "" } });
}

function reasonOf(outcome: Exclude<Outcome<Accepted>, { kind: "done" }>): string {
  if (outcome.kind === "refused") return outcome.error.message;
  return outcome.kind === "retry" ? (outcome.because?.message ?? "leadership changed") : "not known";
}
