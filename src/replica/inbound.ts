/**
 * Which messages of other members reach the core, and in which form; and what the core's refusals mean for this member.
 *
 * A message that contradicts this member's log ends it by a DivergedError. A member whose log lost what it had
 * acknowledged to this leader is remembered, and reported once.
 */
import type { Log } from "../base/log";
import { MessageType, newMessage } from "../raft/index";
import type { Message, NodeId, RawNode, Snapshot } from "../raft/index";
import { formatId } from "../roster/index";
import { DivergedError } from "./diverged";
import type { EntryCheck } from "./entry_check";
import { TermLeaps } from "./term_leaps";

interface InboundOptions {
  /** The core; it is created after this. */
  readonly core: () => RawNode;
  /** Ticks since the start. */
  readonly ticks: () => number;
  /** An election timeout in ticks. */
  readonly electionTicks: number;
  readonly hasSpace: () => boolean;
  readonly canInstall: (snapshot: Snapshot) => boolean;
  /** Whether the roster lists this member: what another one claims ends nobody. */
  readonly isMember: (id: NodeId) => boolean;
  /** The log of `id` ends before what it had acknowledged to this leader. Called once for each member. */
  readonly onRegressed: (id: NodeId) => void;
  /** Refuses entries that could not be applied. */
  readonly entries: EntryCheck;
  readonly log: Log;
}

export class Inbound {
  private readonly leaps: TermLeaps;
  private readonly regressedIds = new Set<NodeId>();
  private ownRegressLogged = false;

  constructor(private readonly options: InboundOptions) {
    this.leaps = new TermLeaps(options.electionTicks);
  }

  /** Whether the log of `id` was seen to end before what it had acknowledged to this member. */
  isRegressed(id: NodeId): boolean {
    return this.regressedIds.has(id);
  }

  /**
   * Gives the core what it may take of the message.
   *
   * @returns what the core took; null when nothing of the message is to be used further
   * @throws DivergedError when the message shows that this member's log is not that of its cluster
   */
  step(from: NodeId, message: Message): Message | null {
    const taken = this.admit(from, message);
    if (taken === null) return null;
    const core = this.options.core();
    const before = core.term;
    const result = core.step(taken);
    if (core.term > before) this.leaps.raised(core.term - before);
    if (result.ok) return taken;
    if (result.reason === "contradiction") this.contradicted(from);
    if (result.reason !== "log-regressed") return taken;
    this.noticeRegress(from, taken);
    return null;
  }

  /** The message as the core may take it; null: not at all. */
  private admit(from: NodeId, message: Message): Message | null {
    const { hasSpace, canInstall, entries } = this.options;
    const reachable = this.followTerm(from, message);
    if (reachable !== message) return reachable;
    if (!entries.takes(from, message.entries)) return null;
    const taken = hasSpace() ? message : withoutEntries(message);
    return taken === null || (taken.snapshot !== null && !canInstall(taken.snapshot)) ? null : taken;
  }

  /** The message itself when its term is in reach; one that only raises the term; or null. */
  private followTerm(from: NodeId, message: Message): Message | null {
    const { core, ticks, log } = this.options;
    const { term: own, lastIndex, hearsLeader } = core();
    const verdict = this.leaps.judge(own, message.term, ticks(), lastIndex === 0);
    if (verdict.kind === "take") return message;
    const fields = { from, term: message.term, own };
    if (verdict.kind === "refuse") {
      if (verdict.firstOfPeriod) log.warn(fields, "refused a term far ahead of this member's");
      return null;
    }
    // A member that hears a leader does not help to replace it; the leader itself learns the term from answers. One that
    // hears none may be the vote that the candidate lacks.
    const isCandidate = message.type === MessageType.Vote || message.type === MessageType.PreVote;
    if (isCandidate && hearsLeader) return null;
    log.warn(
      { ...fields, next: verdict.term },
      "a peer's term is far ahead; this member's term follows in steps",
    );
    // The rejection of a pre-vote does nothing but raise the term, and is taken from members only.
    const raise = newMessage(MessageType.PreVoteResponse, message.to, from, verdict.term);
    raise.reject = true;
    return raise;
  }

  /** @throws DivergedError when a member of the cluster sent the message */
  private contradicted(from: NodeId): void {
    const { core, isMember, log } = this.options;
    const found = core().contradiction;
    if (found === null) return;
    const { index, ownTerm, theirTerm, committed } = found;
    const own = `the entry at index ${index}, of term ${ownTerm}${committed ? " and committed here" : ""},`;
    const theirs = ownTerm === theirTerm ? "has other content" : `is of term ${theirTerm}`;
    const text = `${own} ${theirs} in the log of the leader, member ${formatId(from)}`;
    if (isMember(from)) throw new DivergedError(text);
    log.warn({ from, index, own_term: ownTerm, term: theirTerm }, `refused what a stranger sent: ${text}`);
  }

  private noticeRegress(from: NodeId, { type, index, rejectHint }: Message): void {
    const { core, log, onRegressed } = this.options;
    if (type === MessageType.Heartbeat) {
      if (this.ownRegressLogged) return;
      this.ownRegressLogged = true;
      const fields = { leader: from, acknowledged: index, last: core().lastIndex };
      const text =
        "the leader has an acknowledgement of this member for entries that its log does not have: its data directory is " +
        "an older copy, or lost what was synced; replace this member";
      log.error(fields, text);
      return;
    }
    if (this.regressedIds.has(from)) return;
    this.regressedIds.add(from);
    const fields = { peer: from, acknowledged: index, last: rejectHint };
    const text =
      "the log of a member ends before what it had acknowledged: its data directory is an older copy, or lost what was " +
      "synced; it is refused from now on: remove it and add it again with an empty data directory";
    log.error(fields, text);
    onRegressed(from);
  }
}

/**
 * What a member whose disk is full takes of a message: entries would wait for space, and every later vote behind them.
 * An append without its entries still tells the leader where this log ends, and this member what is committed of it;
 * the leader sends the entries again with its heartbeats. Null: nothing of it. docs/adr/0009-disk-full-waits.md
 */
function withoutEntries(message: Message): Message | null {
  if (message.snapshot !== null) return null;
  return message.entries.length === 0 ? message : { ...message, entries: [] };
}
