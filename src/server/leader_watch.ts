/**
 * Says in the log that there is no leader: after an election timeout, and again when it lasts, with the voters that this
 * member hears and does not hear. Then, once, that there is one again.
 */
import type { Clock } from "../base/clock";
import type { Log } from "../base/log";
import { NO_NODE } from "../raft/index";
import type { ReplicaView } from "../replica/view";

/** After how many milliseconds without a leader a further line is written. */
const LATER_MS = [30_000, 120_000];
/** And after these, how many milliseconds lie between one line and the next. */
const THEN_EVERY_MS = 600_000;

type Watched = Pick<
  ReplicaView,
  "id" | "leader" | "term" | "applied" | "electionTicks" | "ticks" | "roster" | "contacts"
>;

export class LeaderWatch {
  /** Since when there is no leader; null: there is one. */
  private since: { readonly tick: number; readonly ms: number } | null;
  /** Lines written about this time without a leader. */
  private lines = 0;

  constructor(
    private readonly replica: Watched,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {
    this.since = { tick: replica.ticks, ms: clock.now() };
  }

  /** To be called at every tick. */
  onTick(): void {
    const { replica, clock } = this;
    if (replica.leader !== NO_NODE) {
      this.end();
      return;
    }
    this.since ??= { tick: replica.ticks, ms: clock.now() };
    const forMs = clock.now() - this.since.ms;
    if (this.lines === 0) {
      if (replica.ticks - this.since.tick >= replica.electionTicks)
        this.say("no leader for an election timeout", forMs);
    } else if (forMs >= this.nextMs()) {
      this.say(
        "no leader for long: too few voters reach each other; reads that need a quorum, and writes, wait",
        forMs,
      );
    }
  }

  private nextMs(): number {
    const [last = 0] = LATER_MS.slice(-1);
    return LATER_MS[this.lines - 1] ?? last + (this.lines - LATER_MS.length) * THEN_EVERY_MS;
  }

  private end(): void {
    const { since, lines, replica, clock, log } = this;
    this.since = null;
    this.lines = 0;
    if (since === null || lines === 0) return;
    const fields = {
      leader: replica.leader,
      term: replica.term,
      after_ms: Math.round(clock.now() - since.ms),
    };
    log.info(fields, "there is a leader again");
  }

  private say(text: string, forMs: number): void {
    const { replica, log } = this;
    this.lines++;
    const fields = {
      term: replica.term,
      index: replica.applied,
      for_ms: Math.round(forMs),
      ...this.voters(),
    };
    log.warn(fields, text);
  }

  /** The other voters, by name: those heard since there is no leader, and how long ago, and the rest. */
  private voters(): { heard: string; not_heard: string } {
    const { replica, clock, since } = this;
    const heard: string[] = [];
    const notHeard: string[] = [];
    for (const { id, name, learner } of replica.roster.members()) {
      if (learner || id === replica.id) continue;
      const lastMs = replica.contacts.lastReceivedMs(id);
      // Without a leader every member asks for votes about once in two election timeouts.
      const isRecent = lastMs !== null && lastMs >= (since?.ms ?? 0);
      if (isRecent) heard.push(`${name} (${String(Math.round(clock.now() - lastMs))} ms ago)`);
      else notHeard.push(name);
    }
    return { heard: heard.join(", "), not_heard: notHeard.join(", ") };
  }
}
