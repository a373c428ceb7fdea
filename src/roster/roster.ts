/**
 * The roster: the replicated state machine, and the only store of members.
 *
 * Invariants: entries are applied once each, in order of index; two rosters that applied the same entries are equal,
 * byte by byte in their snapshots; apply never throws because of a value that a client sent. A command that is refused,
 * repeated or changes nothing leaves the revision as it is. Order of decisions: request_id, room to remember
 * it, expected_revision, rules (rules.ts). Pure.
 */
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
import type {
  ClusterSettings,
  MemberRecord,
  RequestOutcome,
  RosterEvent,
  Tombstone,
} from "../generated/muster/storage/v1/snapshot";
import type { ConfChange, Entry } from "../raft/index";
import { fnv1a64, sameBytes } from "./bytes";
import type { Sha256 } from "./bytes";
import { commandOf, confChangeSteps } from "./commands";
import { RosterDigests } from "./digest";
import { EventHistory } from "./events";
import { compareIds } from "./ids";
import { knowsRequestClock } from "./features";
import { refuse } from "./refusal";
import type { Refusal } from "./refusal";
import { fromOutcome, RequestMemory } from "./requests";
import type { Decision } from "./requests";
import { decide } from "./rules";
import { decodeSnapshot, encodePieces, encodeSnapshot, RosterSnapshotError } from "./snapshot";
import { Tombstones } from "./tombstones";
import { record } from "./verdict";
import type { Effect } from "./verdict";
import { DEFAULT_SETTINGS } from "./view";
import type { RosterView } from "./view";

/** How many events, and at least how many outcomes, are kept. */
export const HISTORY_LIMIT = 10_000;

/** How long an outcome is kept at least: longer than anybody repeats a call without looking at what became of it. */
export const OUTCOMES_KEPT_MS = 10 * 60_000;

/** Bytes for timed outcomes: about 250,000 of them, which is 400 a second for ten minutes. */
const OUTCOMES_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Lengths of the roster's histories. Both are part of the replicated state: members with different limits would compute
 * different snapshots. So they are no settings; tests lower them to reach the limit with few entries.
 */
export interface HistoryOptions {
  /**
   * How many later writes an outcome is remembered for at least. A higher limit lets a request be repeated after more
   * other writes; a lower one makes snapshots smaller.
   * @default 10000
   */
  readonly outcomesLimit?: number;
  /**
   * Milliseconds that the outcome under a caller's own request id is remembered at least. A longer time lets a request be
   * repeated later; a shorter one takes more writes a second before the room is full.
   * @default 600000
   */
  readonly outcomesKeptMs?: number;
  /**
   * Bytes of such outcomes; when they are all younger than outcomesKeptMs, writes are refused. More room takes more
   * writes a second; less makes the largest snapshot smaller.
   * @default 64 MiB
   */
  readonly outcomesBytesMax?: number;
  /**
   * How many events are kept for watches. A higher limit lets a watch resume after more changes; a lower one makes
   * snapshots smaller.
   * @default 10000
   */
  readonly eventsLimit?: number;
}

interface RosterOptions extends HistoryOptions {
  /** Fixed at bootstrap. 0 only while a joining member does not know it yet. */
  readonly clusterId: bigint;
  /** @default none: no digests are kept, for rosters that nobody compares */
  readonly sha256?: Sha256;
}

interface RestoreOptions extends HistoryOptions {
  /** See RosterOptions. */
  readonly sha256?: Sha256;
  /** The log index of the snapshot (SnapshotMeta.index), which its bytes do not contain. */
  readonly appliedIndex: number;
}

/** The result of applying an entry. */
export type ApplyResult =
  /** No command: a leader's first entry, a change that the leader's core refused, leaving a joint configuration. */
  | { readonly kind: "empty" }
  | {
      readonly kind: "command";
      readonly command: RosterCommand;
      readonly decision: Decision;
      /**
       * The membership change that the core must apply: set exactly when the entry is a membership change that was
       * accepted and changed the roster. Null for a refused or repeated command, and for one that changes nothing.
       */
      readonly confChange: ConfChange | null;
    };

/** An entry was applied out of order. A bug in the caller; no input can cause it. */
export class RosterInvariantError extends Error {
  override readonly name = "RosterInvariantError";
}

/** A decision, the changes that it makes, and whether to remember it. */
interface Judgement {
  readonly decision: Decision;
  readonly effects: readonly Effect[];
  readonly targets: readonly bigint[];
  /** Whether the outcome is kept for a repeated request. */
  readonly remember: boolean;
}

const NOTHING = { effects: [], targets: [] } as const;

export class Roster implements RosterView {
  readonly clusterId: bigint;
  /** Digests of the last revisions; null when none are kept. */
  readonly digests: RosterDigests | null;
  private currentRevision = 0;
  private currentIndex = 0;
  private readonly byId = new Map<bigint, MemberRecord>();
  private readonly idByName = new Map<string, bigint>();
  private readonly tombstones = new Tombstones();
  private readonly requests: RequestMemory;
  private readonly events: EventHistory;
  /** Members in order of id; null from a change until the next call of members(). */
  private sortedMembers: readonly MemberRecord[] | null = null;
  /** Null: as long as nobody changed them. */
  private changedSettings: ClusterSettings | null = null;

  constructor(options: RosterOptions) {
    this.clusterId = options.clusterId;
    this.digests = options.sha256 === undefined ? null : new RosterDigests(options.sha256);
    this.requests = new RequestMemory({
      count: options.outcomesLimit ?? HISTORY_LIMIT,
      keptMs: options.outcomesKeptMs ?? OUTCOMES_KEPT_MS,
      bytesMax: options.outcomesBytesMax ?? OUTCOMES_BYTES_MAX,
    });
    this.events = new EventHistory(options.eventsLimit ?? HISTORY_LIMIT);
  }

  /**
   * Restores the roster from a snapshot.
   *
   * @throws RosterSnapshotError for an unknown version and for bytes that are no roster
   */
  static restore(bytes: Uint8Array, options: RestoreOptions): Roster {
    const state = decodeSnapshot(bytes);
    if (state.revision > options.appliedIndex) {
      throw new RosterSnapshotError(
        `roster snapshot: revision ${state.revision} is beyond its index ${options.appliedIndex}`,
      );
    }
    const roster = new Roster({ ...options, clusterId: state.clusterId });
    roster.currentIndex = options.appliedIndex;
    roster.currentRevision = state.revision;
    for (const member of state.members) roster.put(record(member), state.revision);
    if (state.settings !== undefined) roster.changeSettings(Object.freeze(state.settings), state.revision);
    roster.tombstones.addAll(state.tombstones);
    roster.digests?.restored(state.revision, state.tombstones);
    for (const outcome of state.outcomes) {
      if (outcome.member !== undefined) record(outcome.member);
    }
    roster.requests.restore(state.outcomes, state.requestClock);
    roster.requests.setTimed(knowsRequestClock(roster.members()));
    for (const event of state.events) {
      if (event.member !== undefined) record(event.member);
      if (event.previous !== undefined) record(event.previous);
      roster.events.append(event);
    }
    return roster;
  }

  /** The log index at which the roster last changed. 0: never. */
  get revision(): number {
    return this.currentRevision;
  }

  /** The index of the last entry applied. 0: none. */
  get appliedIndex(): number {
    return this.currentIndex;
  }

  get settings(): ClusterSettings {
    return this.changedSettings ?? DEFAULT_SETTINGS;
  }

  /** Every member in ascending order of id. Returns the same array until the roster changes; records are frozen. */
  members(): readonly MemberRecord[] {
    this.sortedMembers ??= Object.freeze([...this.byId.values()].sort((a, b) => compareIds(a.id, b.id)));
    return this.sortedMembers;
  }

  member(id: bigint): MemberRecord | null {
    return this.byId.get(id) ?? null;
  }

  memberByName(name: string): MemberRecord | null {
    const id = this.idByName.get(name);
    return id === undefined ? null : this.member(id);
  }

  tombstone(id: bigint): Tombstone | null {
    return this.tombstones.get(id);
  }

  /** Removed members that had this name, oldest removal first. */
  tombstonesByName(name: string): readonly Tombstone[] {
    return this.tombstones.named(name);
  }

  /** The ids of the voters in ascending order. */
  voters(): bigint[] {
    return this.members().flatMap((member) => (member.learner ? [] : [member.id]));
  }

  /** The decision that a repeated request would get; null when its outcome is not remembered. */
  outcome(requestId: string): Decision | null {
    const found = this.requests.find(requestId);
    return found === undefined ? null : fromOutcome(found);
  }

  /** Changes after `revision`, oldest first; null when some of them have been dropped (see `oldestRevision`). */
  eventsSince(revision: number): readonly RosterEvent[] | null {
    return this.events.since(revision);
  }

  /** The changes of the first revision after `revision`; empty when there is none yet. Only from `oldestRevision` on. */
  stepAfter(revision: number): readonly RosterEvent[] {
    return this.events.stepAfter(revision);
  }

  /** The smallest revision for which `eventsSince` is not null. */
  get oldestRevision(): number {
    return this.events.oldestRevision;
  }

  /**
   * Decides on the command of a committed entry and carries it out.
   *
   * @throws UnknownCommandError when this build does not know the command: the roster is unchanged, the member must stop
   * @throws RosterInvariantError unless the entry is the next one
   */
  apply(entry: Entry): ApplyResult {
    if (entry.index !== this.currentIndex + 1) {
      throw new RosterInvariantError(`entry ${entry.index} applied after entry ${this.currentIndex}`);
    }
    const command = commandOf(entry);
    this.currentIndex = entry.index;
    if (command === null) return { kind: "empty" };

    this.requests.advance(entry.term, command);
    const judged = checkFit(this.judge(command, entry.index), command, entry);
    for (const effect of judged.effects) this.perform(effect, command, entry.index);
    if (judged.remember && command.requestId !== "") this.requests.remember(command, judged.decision);
    if (judged.effects.length > 0 && mayChangeVersions(command))
      this.requests.setTimed(knowsRequestClock(this.members()));
    const confChange = judged.effects.length > 0 ? entry.confChange : null;
    return { kind: "command", command, decision: judged.decision, confChange };
  }

  /**
   * The decision that apply would take now; changes nothing.
   *
   * An accepted decision has the roster's current revision. A record that the command would create or change has
   * revision 0, because there is no entry yet whose index could be its revision. Whether there is room to remember the
   * outcome is left to apply: entries are what makes room.
   */
  evaluate(command: RosterCommand): Decision {
    return this.judge(command, 0).decision;
  }

  /** The whole replicated state as bytes. Members that applied the same index have the same bytes. */
  snapshot(): Uint8Array {
    return encodeSnapshot(this.state());
  }

  /** The bytes of snapshot() as it is now, in pieces that are encoded when they are asked for, however much later. */
  freeze(): Iterator<Uint8Array, undefined> {
    return encodePieces(this.state());
  }

  /** A copy of the lists; the records in them never change. */
  private state() {
    return {
      clusterId: this.clusterId,
      revision: this.currentRevision,
      members: [...this.members()],
      tombstones: [...this.tombstones.all()],
      outcomes: this.requests.all(),
      events: this.events.all(),
      settings: this.changedSettings ?? undefined,
      requestClock: this.requests.clockState(),
    };
  }

  /** A hash of snapshot(), to compare rosters at the same applied index. Costs as much as snapshot(). */
  hash(): string {
    return fnv1a64(this.snapshot());
  }

  private judge(command: RosterCommand, index: number): Judgement {
    const { requestId, expectedRevision, expectedSettings } = command;
    const known = requestId === "" ? undefined : this.requests.find(requestId);
    if (known !== undefined) return { decision: decideRepeat(known, command), remember: false, ...NOTHING };

    const unfit = this.checkMemory(command, index);
    if (unfit !== null) {
      return { decision: { accepted: false, repeated: false, refusal: unfit }, remember: false, ...NOTHING };
    }

    const stale =
      (expectedRevision === 0 ? null : otherRevision(this.currentRevision, expectedRevision)) ??
      (expectedSettings === undefined
        ? null
        : otherRevision(this.settings.updateRevision, expectedSettings.revision));
    if (stale !== null)
      return { decision: { accepted: false, repeated: false, refusal: stale }, remember: true, ...NOTHING };

    const verdict = decide(this, command, index);
    if (!verdict.ok) {
      const { refusal } = verdict;
      return { decision: { accepted: false, repeated: false, refusal }, remember: true, ...NOTHING };
    }
    const { member, effects, targets } = verdict;
    const changed = effects.some(({ event }) => event !== null);
    const silent = effects.length > 0 && !changed ? { silent: true } : {};
    const revision = changed && index > 0 ? index : this.currentRevision;
    const decision = { accepted: true, repeated: false, changed, ...silent, member, revision } as const;
    return { decision, effects, targets, remember: true };
  }

  /** Why a command of a new request id is refused without a decision on it, and without being remembered. */
  private checkMemory(command: RosterCommand, index: number): Refusal | null {
    const { requests } = this;
    if (requests.mayHaveForgotten(command, index > 0 ? index : this.currentIndex + 1)) {
      return refuse("NOT_PROPOSED", {});
    }
    return index > 0 && !requests.hasRoomFor(command) ? refuse("TOO_MANY_REQUESTS", {}) : null;
  }

  private perform(effect: Effect, command: RosterCommand, index: number): void {
    const { event } = effect;
    if (event === RosterEvent_Kind.SETTINGS) {
      const previousSettings = this.changedSettings ?? undefined;
      this.changeSettings(effect.settings, index);
      this.note({ kind: event, settings: effect.settings, previousSettings }, command, index);
      return;
    }
    const { member } = effect;
    // The record before the change; unset for a member that is new. A removal has it as `member`.
    const previous = event === RosterEvent_Kind.REMOVED ? undefined : this.byId.get(member.id);
    if (event === RosterEvent_Kind.REMOVED) {
      this.byId.delete(member.id);
      this.digests?.remove(effect.tombstone, index);
      this.idByName.delete(member.name);
      this.tombstones.add(effect.tombstone);
    } else if (event === null) {
      // Not a change of the roster: nothing that the digest covers is another.
      this.byId.set(member.id, member);
    } else {
      this.put(member, index);
    }
    this.sortedMembers = null;
    if (event !== null) this.note({ kind: event, member, previous }, command, index);
  }

  /** The roster changed. */
  private note(change: Change, command: RosterCommand, index: number): void {
    this.events.append(eventOf(change, command, index));
    this.currentRevision = index;
  }

  private put(member: MemberRecord, index: number): void {
    this.digests?.put(member, index);
    this.byId.set(member.id, member);
    this.idByName.set(member.name, member.id);
  }

  private changeSettings(settings: ClusterSettings, index: number): void {
    this.digests?.putSettings(settings, index);
    this.changedSettings = settings;
  }
}

/** What an event says of the change itself. */
type Change = Pick<RosterEvent, "kind"> &
  Partial<Pick<RosterEvent, "member" | "previous" | "settings" | "previousSettings">>;

/** What a member publishes it says of itself, whoever carried the call. */
export const PUBLISHED_BY = "member";

function eventOf(
  change: Change,
  { timeMs, caller, note, requestId, body }: RosterCommand,
  revision: number,
): RosterEvent {
  const by = body?.$case === "publish" ? PUBLISHED_BY : caller;
  const nothing = {
    member: undefined,
    previous: undefined,
    settings: undefined,
    previousSettings: undefined,
  };
  return { ...nothing, ...change, revision, timeMs, caller: by, note, requestId };
}

/** Whether the versions of the started members may be others after the command. */
function mayChangeVersions({ body }: RosterCommand): boolean {
  switch (body?.$case) {
    case "publish":
    case "removeMember":
    case "replaceMember":
    case "changeMembers":
      return true;
    default:
      return false;
  }
}

/** Null: it is the expected one. */
function otherRevision(revision: number, expected: number): Refusal | null {
  if (revision === expected) return null;
  return refuse("REVISION_MISMATCH", {
    revision: String(revision),
    expected_revision: String(expected),
  });
}

/** The first outcome again, or a refusal when a different request used this request_id before. */
function decideRepeat(known: RequestOutcome, command: RosterCommand): Decision {
  if (sameBytes(known.fingerprint, command.fingerprint)) return fromOutcome(known);
  const refusal = refuse("REQUEST_ID_REUSED", { request_id: command.requestId });
  return { accepted: false, repeated: false, refusal };
}

/**
 * Roster and Raft configuration change together or not at all: an accepted command whose entry does not carry exactly
 * the command's membership change is refused. That refusal is not remembered, so that a repeated request can succeed.
 *
 * It happens only when the roster of the proposing leader was behind when the leader looked the member up.
 */
function checkFit(judged: Judgement, command: RosterCommand, entry: Entry): Judgement {
  if (!judged.decision.accepted || judged.decision.repeated) return judged;
  const wanted = confChangeSteps(command, judged.targets);
  const carried = entry.confChange?.changes ?? null;
  const fits =
    wanted === null || carried === null
      ? wanted === carried
      : wanted.length === carried.length &&
        wanted.every((step, i) => step.type === carried[i]?.type && step.nodeId === carried[i].nodeId);
  if (fits) return judged;
  const decision = { accepted: false, repeated: false, refusal: refuse("INTERNAL", {}) } as const;
  return { decision, remember: false, ...NOTHING };
}
