/**
 * An outcome under a caller's own request id is not forgotten before its time and before enough later ones; what changed
 * nothing under a request id that a member drew is not remembered. docs/adr/0017-request-memory-by-time.md
 */
import { CommandKind, HISTORY_LIMIT, OUTCOMES_KEPT_MS, knowsKind } from "../../../src/roster/index";
import type { ApplyResult, Roster } from "../../../src/roster/index";
import type { Entry } from "../../../src/raft/index";
import type { Member } from "../member";
import type { Observer } from "../observer";
import { Violation } from "../violation";
import type { World } from "../world";

/** What is left of the time when clocks run fast: real time is compared here, not the request clock. */
const CERTAIN = 9 / 10;
/** The part of the time that one leap of a clock takes at most. */
const LEAP = 1 / 10;

interface Kept {
  readonly requestId: string;
  readonly sinceUs: number;
  /** Leaps of clocks before it. */
  readonly clockJumps: number;
  /** Number of outcomes remembered before it. */
  readonly number: number;
}

export class RequestMemory implements Observer {
  private newest = 0;
  private remembered = 0;
  /** Whether outcomes are kept for a time. */
  private timed = false;
  /** Outcomes that must be remembered, oldest first. */
  private readonly kept: Kept[] = [];

  constructor(private readonly world: World) {}

  applied(member: Member, { index }: Entry, result: ApplyResult, roster: Roster): void {
    if (index <= this.newest) return;
    this.newest = index;
    if (result.kind !== "command") return;
    const { coverage, scheduler } = this.world;
    const { command, decision } = result;
    const { requestId, generatedRequestId } = command;
    if (command.kind === CommandKind.REFUSE) coverage.add("refusal logged for a late attempt");
    if (!decision.accepted && !decision.repeated) {
      const { reason } = decision.refusal;
      if (reason === "TOO_MANY_REQUESTS") coverage.add("no room for an outcome");
      if (reason === "NOT_PROPOSED") coverage.add("late attempt of a forgotten write");
    }
    const isTimed = this.isTimed(roster);
    const isKnown = requestId !== "" && roster.outcome(requestId) !== null;
    if (generatedRequestId) {
      coverage.add("write without a request id");
      if (isKnown && decision.accepted && !decision.changed && !decision.repeated)
        throw new Violation("request_memory", `${requestId} changed nothing at ${index} and is remembered`);
    } else if (isKnown && !decision.repeated && isTimed) {
      const { clockJumps } = this.world;
      this.kept.push({ requestId, sinceUs: scheduler.nowUs, clockJumps, number: this.remembered++ });
    }
    this.checkOldest(roster, member);
  }

  /**
   * Before the first member has published itself, none knows which versions there are. When later no member is left that
   * has, as after the only one was replaced, it stays as it was.
   */
  private isTimed(roster: Roster): boolean {
    const members = roster.members();
    if (members.some(({ started }) => started)) this.timed = knowsKind(members, CommandKind.REFUSE);
    return this.timed;
  }

  private checkOldest(roster: Roster, member: Member): void {
    const [oldest] = this.kept;
    if (oldest === undefined || roster.outcome(oldest.requestId) !== null) return;
    this.kept.shift();
    const { coverage, scheduler, profile } = this.world;
    const {
      outcomesLimit = HISTORY_LIMIT,
      outcomesKeptMs = OUTCOMES_KEPT_MS,
      outcomesBytesMax,
    } = profile.memory;
    coverage.add("outcome forgotten");
    const ageMs = (scheduler.nowUs - oldest.sinceUs) / 1000;
    const later = this.remembered - 1 - oldest.number;
    const leaps = this.world.clockJumps - oldest.clockJumps;
    const isEarly =
      ageMs < outcomesKeptMs * (CERTAIN - LEAP * leaps) ||
      (later < outcomesLimit && outcomesBytesMax === undefined);
    if (!isEarly) return;
    const text = `${member.label} forgot ${oldest.requestId} after ${Math.round(ageMs)} ms and ${later} later ones`;
    throw new Violation("request_memory", text);
  }
}
