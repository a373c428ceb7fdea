/**
 * What the leader does by itself (steward_tasks.ts), one thing at a time, through the queue and the checks of a caller's
 * change.
 *
 * What is to be done follows from the roster, so that the next leader goes on where this one stopped; only for how long
 * members have been away, and how long to wait after a refusal, is kept here, and begins anew under another leader. Two
 * leaders can't do a thing twice: a task is refused when its members are not as they were seen, and without a request id the
 * refusal leaves no trace.
 */
import type { Clock } from "../../base/clock";
import { Deadline } from "../../base/deadline";
import type { Log } from "../../base/log";
import type { Outcome } from "../../base/outcome";
import type { NodeId } from "../../raft/index";
import type { ReplicaListener, ReplicaView } from "../../replica/view";
import { RefusedError } from "../../roster/index";
import type { CommandSource } from "../publish";
import { checkChange } from "./change_check";
import type { CheckView } from "./change_check";
import { stewardTasks } from "./steward_tasks";
import type { Observed, StewardTask } from "./steward_tasks";
import type { Accepted, Submission } from "./submission";
import type { Submissions } from "./submissions";

interface StewardOptions extends CommandSource {
  readonly replica: Pick<
    ReplicaView,
    "id" | "isLeader" | "ticks" | "electionTicks" | "term" | "applied" | "roster" | "contacts"
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

/** A task that was refused, or did not come about. */
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
  private readonly pauses = new Map<string, Pause>();
  private readonly outOfContact = new Since();
  private readonly unstarted = new Since();
  private readonly observed: Observed = {
    outOfContactTicks: (id) => this.outOfContact.ticks(id, this.options.replica.ticks),
    unstartedTicks: (id) => this.unstarted.ticks(id, this.options.replica.ticks),
  };

  /** Looks at every tick, for as long as the replica runs. */
  constructor(private readonly options: StewardOptions) {
    options.replica.listen({
      onTick: () => {
        this.tick();
      },
      onLeadership: () => {
        if (options.replica.isLeader) return;
        this.pauses.clear();
        this.outOfContact.clear();
        this.unstarted.clear();
      },
    });
  }

  private tick(): void {
    const { replica, clock, electionMs } = this.options;
    if (!replica.isLeader) return;
    this.observe();
    if (this.busy || !replica.confChangeAllowed || !mayHaveWork(replica.roster)) return;
    const deadline = Deadline.of(clock, null, electionMs);
    const view = this.options.view(deadline);
    for (const task of stewardTasks(view, this.observed)) {
      // What would have to wait at the head of the queue would hold up the changes of callers.
      if (this.isPaused(task) || checkChange(task.command(NO_ENVELOPE), view).kind !== "ok") continue;
      this.carryOut(task, deadline);
      return;
    }
  }

  /**
   * Since when members are away, or have not started: noticed while there is other work, too, and while no setting asks for
   * it, since one may later. A member in contact has started, and is about to publish itself.
   */
  private observe(): void {
    const { id: self, ticks, contacts, roster } = this.options.replica;
    const away = roster
      .members()
      .filter(({ id }) => id !== self && contacts.inContactTicks(id, ticks) === null);
    this.outOfContact.update(away, ticks);
    this.unstarted.update(
      away.filter(({ started }) => !started),
      ticks,
    );
  }

  private isPaused(task: StewardTask): boolean {
    return (this.pauses.get(keyOf(task))?.untilTick ?? 0) > this.options.replica.ticks;
  }

  private carryOut(task: StewardTask, deadline: Deadline): void {
    const { submissions, random, wallNow } = this.options;
    const command = task.command({ proposalId: random.u64(), timeMs: wallNow(), caller: STEWARD });
    const { seen, holds = () => true } = task;
    const submission: Submission = { command, validateOnly: false, seen, holds, deadline };
    this.busy = true;
    void submissions.submit(submission).outcome.then((outcome) => {
      this.busy = false;
      this.noteOutcome(task, outcome);
    });
  }

  private noteOutcome(task: StewardTask, outcome: Outcome<Accepted>): void {
    const { replica, log } = this.options;
    const { id, name } = task.member;
    const fields = { member: id, name, term: replica.term, index: replica.applied };
    const key = keyOf(task);
    if (outcome.kind === "done") {
      this.pauses.delete(key);
      if (outcome.value.changed) log.info(fields, task.done);
      return;
    }
    // The next leader goes on: this one may have handed over for this very change, and begins anew when it leads again.
    if (!replica.isLeader) return;
    // The members changed meanwhile: look at them again.
    if (outcome.kind === "refused" && isStale(outcome.error)) return;
    const elections = Math.min(PAUSE_ELECTIONS_MAX, 2 * (this.pauses.get(key)?.elections ?? 1));
    this.pauses.set(key, { untilTick: replica.ticks + elections * replica.electionTicks, elections });
    log.info(
      { ...fields, task: task.kind, why: reasonOf(outcome) },
      "what the leader does by itself did not come about yet",
    );
  }
}

/** Since which tick something holds of members. */
class Since {
  private readonly since = new Map<NodeId, number>();

  /** @param members of which it holds now, all of them */
  update(members: readonly { readonly id: NodeId }[], tick: number): void {
    const now = new Set(members.map(({ id }) => id));
    for (const id of this.since.keys()) if (!now.has(id)) this.since.delete(id);
    for (const id of now) if (!this.since.has(id)) this.since.set(id, tick);
  }

  ticks(id: NodeId, tick: number): number {
    return tick - (this.since.get(id) ?? tick);
  }

  clear(): void {
    this.since.clear();
  }
}

const NO_ENVELOPE = { proposalId: 0n, timeMs: 0 };

/** Whether there can be a task at all: most rosters have voters only, and every tick asks. */
function mayHaveWork(roster: ReplicaView["roster"]): boolean {
  return roster.members().some(({ learner, replaces }) => learner || replaces !== 0n);
}

function keyOf({ kind, member }: StewardTask): string {
  return `${kind} ${String(member.id)}`;
}

function isStale(error: Error): boolean {
  return error instanceof RefusedError && error.refusal.reason === "REVISION_MISMATCH";
}

function reasonOf(outcome: Exclude<Outcome<Accepted>, { kind: "done" }>): string {
  if (outcome.kind === "refused") return outcome.error.message;
  return outcome.kind === "retry" ? (outcome.because?.message ?? "leadership changed") : "not known";
}
