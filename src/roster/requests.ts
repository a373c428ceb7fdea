/**
 * The outcomes of writes by request_id, refusals included: a repeated request gets the first outcome again.
 *
 * Part of the replicated state: every member keeps and drops the same outcomes, in the order of first use. An outcome under
 * a request id of the caller's own is *timed*: kept for at least keptMs on the request clock, and at least until `count`
 * later ones; older ones give way when the room is full, and a room full of younger ones takes no more. An outcome under a
 * request id that a member drew is *counted*: kept until `count` later ones, since only that member repeats it, and says
 * since when (requestBase). Before every started member knows the request clock all are counted, as in version 0.1. Pure.
 */
import { CommandKind } from "../generated/muster/storage/v1/command";
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import type {
  MemberRecord,
  RequestClock as ClockState,
  RequestOutcome,
} from "../generated/muster/storage/v1/snapshot";
import { needsConfChange } from "./commands";
import { OutcomeQueue } from "./outcome_queue";
import { isReason, isRosterReason, refuse } from "./refusal";
import type { Refusal } from "./refusal";
import { RequestClock } from "./request_clock";

/** The decision on a command. */
export type Decision =
  | {
      readonly accepted: true;
      /** The outcome of an earlier command with the same request_id and content. */
      readonly repeated: boolean;
      /** Whether this command changed the roster; false when repeated. */
      readonly changed: boolean;
      /**
       * Whether this command changes only what has no revision: a boot id. Such a command still needs its entry.
       * @default false
       */
      readonly silent?: boolean;
      /** The member after the command; a removed member as it was before; for a replacement, the new member. */
      readonly member: MemberRecord | null;
      /** The revision of the answer: the entry's index when the command changed something, else the roster's revision. */
      readonly revision: number;
    }
  | { readonly accepted: false; readonly repeated: boolean; readonly refusal: Refusal };

/** How much is remembered; equal on every member. */
interface RequestLimits {
  /** Later outcomes until one may be forgotten. */
  readonly count: number;
  /** Milliseconds on the request clock until a timed outcome may be forgotten. */
  readonly keptMs: number;
  /** Most bytes of timed outcomes, by sizeOf. */
  readonly bytesMax: number;
}

/** Leaps of wall clocks that it takes to forget an outcome before its time. */
const LEAPS = 10;
/** The part of the room that only rare commands may use: membership changes, publishes and refusals of the leader. */
const RESERVE = 1 / 8;

export class RequestMemory {
  private readonly byId = new Map<string, RequestOutcome>();
  private counted = new OutcomeQueue();
  private timed = new OutcomeQueue();
  private timedBytes = 0;
  /** Position of the next outcome in the order of first use. */
  private next = 0;
  /** Null while a started member does not know the request clock. A cluster in which none has started begins with it. */
  private clock: RequestClock | null;

  private readonly leapMsMax: number;

  constructor(private readonly limits: RequestLimits) {
    this.leapMsMax = Math.floor(limits.keptMs / LEAPS);
    this.clock = RequestClock.start(this.leapMsMax);
  }

  get size(): number {
    return this.byId.size;
  }

  find(requestId: string): RequestOutcome | undefined {
    return this.byId.get(requestId);
  }

  /** A command is about to be decided on. */
  advance(term: number, { requestId, timeMs }: RosterCommand): void {
    if (requestId !== "") this.clock?.advance(term, timeMs);
  }

  /** Whether the outcome of a command of a new request id can be remembered. Drops outcomes that are old when it is full. */
  hasRoomFor(command: RosterCommand): boolean {
    const { clock, limits, timed } = this;
    if (clock === null || command.requestId === "" || command.generatedRequestId) return true;
    const isRare =
      needsConfChange(command) || command.kind === CommandKind.PUBLISH || command.kind === CommandKind.REFUSE;
    const bytesMax = isRare ? limits.bytesMax * (1 + RESERVE) : limits.bytesMax;
    while (this.timedBytes >= bytesMax && this.isOld(timed.oldest, clock)) this.dropTimed();
    return this.timedBytes < bytesMax;
  }

  /** Whether the outcome of an earlier attempt of this command may have been forgotten already. */
  mayHaveForgotten({ requestBase }: RosterCommand, index: number): boolean {
    if (this.clock === null || requestBase === 0) return false;
    return index - requestBase > this.limits.count;
  }

  /** Keeps the outcome of a request id's first use. */
  remember(command: RosterCommand, decision: Decision): void {
    const { clock } = this;
    const { requestId, generatedRequestId } = command;
    if (clock !== null && generatedRequestId && decision.accepted && !decision.changed) return;
    const isTimed = clock !== null && !generatedRequestId;
    this.add(toOutcome(requestId, command.fingerprint, decision, isTimed ? clock.now : 0));
    this.forget();
  }

  /** Every outcome, oldest first. */
  all(): RequestOutcome[] {
    return OutcomeQueue.merge(this.counted, this.timed);
  }

  clockState(): ClockState | undefined {
    return this.clock?.state();
  }

  /** Puts back what all() and clockState() gave. Only for a new memory. */
  restore(outcomes: readonly RequestOutcome[], clock: ClockState | undefined): void {
    if (clock !== undefined) this.clock = RequestClock.restore(this.leapMsMax, clock);
    // Outcomes without a clock: a member that does not know it has written them.
    else if (outcomes.length > 0) this.clock = null;
    for (const outcome of outcomes) this.add(outcome);
    this.forget();
  }

  /** The roster changed. @param known whether every started member knows the request clock; null: as before */
  setTimed(known: boolean | null): void {
    if (known === null || known === (this.clock !== null)) return;
    this.clock = known ? RequestClock.start(this.leapMsMax) : null;
    const timeMs = this.clock?.now ?? 0;
    const outcomes = this.all();
    this.counted = new OutcomeQueue();
    this.timed = new OutcomeQueue();
    this.timedBytes = 0;
    // An outcome of unknown time counts as one of now.
    for (const outcome of outcomes) this.add({ ...outcome, timeMs });
    this.forget();
  }

  private add(outcome: RequestOutcome): void {
    this.byId.set(outcome.requestId, outcome);
    if (outcome.timeMs === 0) this.counted.push(outcome, this.next++);
    else {
      this.timed.push(outcome, this.next++);
      this.timedBytes += sizeOf(outcome);
    }
  }

  private forget(): void {
    const { counted, timed, clock, limits } = this;
    while (counted.length > limits.count) this.drop(counted.shift());
    while (clock !== null && timed.length > limits.count && this.isOld(timed.oldest, clock)) this.dropTimed();
  }

  private isOld(outcome: RequestOutcome | undefined, clock: RequestClock): boolean {
    return outcome !== undefined && clock.now - outcome.timeMs >= this.limits.keptMs;
  }

  private dropTimed(): void {
    const dropped = this.timed.shift();
    if (dropped !== undefined) this.timedBytes -= sizeOf(dropped);
    this.drop(dropped);
  }

  private drop(dropped: RequestOutcome | undefined): void {
    if (dropped !== undefined) this.byId.delete(dropped.requestId);
  }
}

/** What an outcome costs beside its texts, in bytes; about what it takes in a snapshot and in memory. */
const OUTCOME_BYTES = 128;

/** The bytes for which an outcome counts. The same on every member, whatever its strings take in memory. */
function sizeOf({ requestId, fingerprint, metadata, member }: RequestOutcome): number {
  let bytes = OUTCOME_BYTES + requestId.length + fingerprint.length;
  for (const [key, value] of metadata) bytes += key.length + value.length;
  if (member === undefined) return bytes;
  for (const url of member.peerUrls) bytes += url.length;
  for (const url of member.adminUrls) bytes += url.length;
  return bytes + member.name.length + member.version.length + member.instanceId.length;
}

/** Shared, since most outcomes have no metadata. */
const NO_METADATA: ReadonlyMap<string, string> = new Map();

/** The remembered form of a decision. A refusal's message is not kept where reason and metadata determine it. */
function toOutcome(
  requestId: string,
  fingerprint: Buffer,
  decision: Decision,
  timeMs: number,
): RequestOutcome {
  if (decision.accepted) {
    const { member, revision } = decision;
    // Never written to.
    const metadata = NO_METADATA as Map<string, string>;
    return { requestId, fingerprint, reason: "", metadata, member: member ?? undefined, revision, timeMs };
  }
  const { reason, metadata, message } = decision.refusal;
  const kept =
    isRosterReason(reason) && refuse(reason, metadata).message === message
      ? metadata
      : { ...metadata, text: message };
  // Sorted: the order of a map's entries is part of the snapshot's bytes.
  const sorted = Object.entries(kept).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    requestId,
    fingerprint,
    reason,
    metadata: new Map(sorted),
    member: undefined,
    revision: 0,
    timeMs,
  };
}

/** The decision for a repeated request. */
export function fromOutcome(outcome: RequestOutcome): Decision {
  if (outcome.reason === "") {
    const { member = null, revision } = outcome;
    return { accepted: true, repeated: true, changed: false, member, revision };
  }
  return { accepted: false, repeated: true, refusal: rememberedRefusal(outcome) };
}

function rememberedRefusal({ reason, metadata }: RequestOutcome): Refusal {
  const { text, ...rest } = Object.fromEntries(metadata);
  if (text !== undefined && isReason(reason)) return { reason, message: text, metadata: rest };
  if (isRosterReason(reason)) return refuse(reason, Object.fromEntries(metadata));
  return { reason: "INTERNAL", message: "refused by a newer version", metadata: { reason } };
}
