/**
 * What other members say of this one: that it was removed, or that its data directory is not the one it had.
 *
 * Each may be wrong, having an older or a damaged copy of its own data directory. So one peer's word ends nobody: this
 * member ends when a majority of the voters that its own roster lists say so, or its own log does. A peer outside the
 * roster is not believed. A peer that accepts this member later has taken its word back. Words count as long as the voters
 * are those of when they were said: that some have gone makes no majority of the others. Who still says so says it again.
 *
 * Two cases in which a majority can't be had are decided otherwise. A log that holds the removal, not known to be committed,
 * counts as this member's own word: then a majority of the others is enough. It may be all that is left of two voters, or of
 * four of which one is down. And a member whose other voters are gone ends by the word of those that are left, when for very
 * long nobody accepted it and no leader was there.
 * Why: docs/adr/0014-one-peers-word-ends-nobody.md.
 */
import type { Log } from "../base/log";
import { NO_NODE } from "../raft/index";
import type { NodeId } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { formatId, sameBytes } from "../roster/index";
import type { RosterView } from "../roster/index";

export type VerdictReason = "MEMBER_REMOVED" | "MEMBER_WIPED" | "MEMBER_ROLLED_BACK";

/** How a refusal of each kind is explained: what this member would be. */
const MEANING: Readonly<Record<VerdictReason, string>> = {
  MEMBER_REMOVED: "was removed from the cluster",
  MEMBER_WIPED: "lost its data directory and runs on another one",
  MEMBER_ROLLED_BACK: "runs on an older copy of its data directory",
};

export function isVerdict(reason: string | null): reason is VerdictReason {
  return reason !== null && Object.hasOwn(MEANING, reason);
}

interface VerdictOptions {
  readonly replica: ReplicaView;
  /** The id of this member's data directory. */
  readonly instanceId: Uint8Array;
  readonly log: Log;
  /** Enough others say that this member was removed. */
  readonly onRemoved: (by: readonly NodeId[], text: string) => void;
  /** This member can't go on under its id, and its data directory stays as it is. */
  readonly onEnd: (reason: VerdictReason, text: string) => void;
}

interface Verdict {
  readonly reason: VerdictReason;
  readonly text: string;
  readonly sinceTick: number;
  lastTick: number;
}

function votersOf(roster: RosterView): NodeId[] {
  return roster.members().flatMap(({ id, learner }) => (learner ? [] : [id]));
}

/** Election timeouts after which a verdict that is not repeated counts no more. A refused stream is tried every second. */
const KEPT_ELECTIONS = 30;
/** Election timeouts that a verdict must stand before it counts for a member that knows no voters yet. */
const JOINER_ELECTIONS = 2;
/** Election timeouts without a leader and without a peer that accepts this member. An hour at one second each. */
const ABANDONED_ELECTIONS = 3600;

export class Verdicts {
  private readonly verdicts = new Map<NodeId, Verdict>();
  /** Peers that this member dialled, and whether each accepted its stream last. */
  private readonly dialled = new Map<NodeId, boolean>();
  /** What was logged of each peer, so that the same word is one line. */
  private readonly logged = new Map<NodeId, VerdictReason>();
  private abandonedSince: number | null = null;
  private decided = false;
  private rosterSeen: unknown = null;
  /** The ids of the voters that the verdicts are of. */
  private votersSeen: string;

  constructor(private readonly options: VerdictOptions) {
    this.votersSeen = votersOf(options.replica.roster).join();
  }

  /** `by` refused this member. NO_NODE: it is not known who did. */
  refused(by: NodeId, reason: VerdictReason, text: string): void {
    const { replica } = this.options;
    if (this.decided || by === NO_NODE || by === replica.id) return;
    this.dialled.set(by, false);
    if (!this.believes(by)) {
      this.say(
        by,
        reason,
        `a peer that this member's roster does not list says: ${text}; it is not believed`,
      );
      return;
    }
    const now = replica.ticks;
    const known = this.verdicts.get(by);
    if (known?.reason === reason) known.lastTick = now;
    else this.verdicts.set(by, { reason, text, sinceTick: now, lastTick: now });
    this.decide();
    if (!this.isDecided()) this.explain(by, reason, text);
  }

  /** `by` accepted a stream of this member: it says nothing against it any more. */
  accepted(by: NodeId): void {
    this.dialled.set(by, true);
    this.logged.delete(by);
    if (!this.verdicts.delete(by)) return;
    this.options.log.info({ peer: by }, "a peer that refused this member accepts it again");
  }

  /** The stream to `by` ended, or could not be opened. */
  unreachable(by: NodeId): void {
    this.dialled.set(by, false);
  }

  /** One tick passed. */
  tick(): void {
    const { ticks, electionTicks, leader } = this.options.replica;
    for (const [id, { lastTick }] of [...this.verdicts])
      if (ticks - lastTick > KEPT_ELECTIONS * electionTicks) this.verdicts.delete(id);
    if (this.decided || this.verdicts.size === 0) {
      this.abandonedSince = null;
      return;
    }
    this.decide();
    if (leader !== NO_NODE || this.voters().some((id) => this.dialled.get(id) === true))
      this.abandonedSince = null;
    else this.abandonedSince ??= ticks;
    const removed = this.saying("MEMBER_REMOVED");
    const sinceTick = this.abandonedSince ?? ticks;
    if (removed.length === 0 || ticks - sinceTick < ABANDONED_ELECTIONS * electionTicks) return;
    this.end("MEMBER_REMOVED", `${this.listed(removed)}, and for long no other voter was reached`);
  }

  /** Entries were applied. */
  applied(): void {
    const { replica, instanceId } = this.options;
    const { roster } = replica;
    const members = roster.members();
    if (this.decided || members === this.rosterSeen) return;
    this.rosterSeen = members;
    const voters = votersOf(roster).join();
    if (voters !== this.votersSeen) this.verdicts.clear();
    this.votersSeen = voters;
    const own = roster.member(replica.id);
    if (own?.started !== true || sameBytes(own.instanceId, instanceId)) return;
    this.end("MEMBER_WIPED", "its own log says that this member was started with another data directory");
  }

  /** Voters other than this member, by its own roster; for a joiner without one, the members that it dialled. */
  private voters(): NodeId[] {
    const { replica } = this.options;
    const voters = votersOf(replica.roster);
    return (voters.length === 0 ? [...this.dialled.keys()] : voters).filter((id) => id !== replica.id);
  }

  private believes(by: NodeId): boolean {
    const { roster } = this.options.replica;
    return roster.members().length === 0 || roster.member(by) !== null;
  }

  /** The voters that say so now. */
  private saying(reason: VerdictReason): NodeId[] {
    const { ticks, electionTicks, roster } = this.options.replica;
    const isJoiner = roster.members().length === 0;
    return this.voters().filter((id) => {
      const verdict = this.verdicts.get(id);
      if (verdict?.reason !== reason) return false;
      return !isJoiner || ticks - verdict.sinceTick >= JOINER_ELECTIONS * electionTicks;
    });
  }

  /** How many voters make a majority, this member's own silence counted. */
  private get majority(): number {
    const voters = votersOf(this.options.replica.roster).length;
    return Math.floor((voters === 0 ? this.voters().length : voters) / 2) + 1;
  }

  /** Asked after decide(), which changes it. */
  private isDecided(): boolean {
    return this.decided;
  }

  private decide(): void {
    if (this.decided) return;
    const removed = this.saying("MEMBER_REMOVED");
    // The entry alone proves nothing: others can have replaced it. With it the log stands for this member's own word.
    const confirmed = 2 * removed.length > this.voters().length && this.options.replica.mayBeRemoved;
    if (removed.length >= this.majority || confirmed) {
      this.decided = true;
      const why = confirmed ? ", and its own log holds the removal" : "";
      this.options.onRemoved(
        removed,
        `this member was removed from the cluster: ${this.listed(removed)}${why}`,
      );
      return;
    }
    // Those that say different things don't confirm each other: one of them may be wrong, the other behind.
    for (const reason of ["MEMBER_WIPED", "MEMBER_ROLLED_BACK"] as const) {
      const by = this.saying(reason);
      if (by.length < this.majority) continue;
      this.end(reason, this.listed(by));
      return;
    }
  }

  private end(reason: VerdictReason, text: string): void {
    this.decided = true;
    this.options.onEnd(reason, text);
  }

  private listed(ids: readonly NodeId[]): string {
    const words = ids.map((id) => `${this.name(id)} says: ${this.verdicts.get(id)?.text ?? ""}`);
    return `${ids.length} of ${this.voters().length} other voters refuse it (${words.join("; ")})`;
  }

  private explain(by: NodeId, reason: VerdictReason, text: string): void {
    const has = this.saying(reason).length;
    this.say(
      by,
      reason,
      `member ${this.name(by)} refuses this one: ${text}. Either it is right and this member ${MEANING[reason]}, or it has ` +
        `an older or damaged copy of its own data directory. This member goes on; it ends when ${this.majority} voters ` +
        `of its roster say so (now ${has}), or its own log`,
    );
  }

  private say(by: NodeId, reason: VerdictReason, line: string): void {
    if (this.logged.get(by) === reason) return;
    this.logged.set(by, reason);
    this.options.log.warn({ peer: by, reason }, line);
  }

  private name(id: NodeId): string {
    const name = this.options.replica.roster.member(id)?.name;
    return name === undefined ? formatId(id) : `${name} (${formatId(id)})`;
  }
}
