/**
 * The roster: the replicated state machine, and the only store of members.
 *
 * Invariants: entries are applied once each, in order of index; two rosters that applied the same entries are equal,
 * byte by byte in their snapshots; apply never throws because of a value that a client sent. A command that is refused,
 * repeated or changes nothing leaves the revision as it is. Order of decisions: request_id, expected_revision, rules
 * (rules.ts). Pure.
 */
import type { RosterCommand } from "../generated/muster/storage/v1/command";
import { RosterEvent_Kind } from "../generated/muster/storage/v1/snapshot";
import type {
  MemberRecord,
  RequestOutcome,
  RosterEvent,
  Tombstone,
} from "../generated/muster/storage/v1/snapshot";
import type { ConfChange, Entry } from "../raft/index";
import { fnv1a64, sameBytes } from "./bytes";
import { commandOf, confChangeSteps } from "./commands";
import { EventHistory } from "./events";
import { compareIds } from "./ids";
import { refuse } from "./refusal";
import { fromOutcome, RequestMemory, toOutcome } from "./requests";
import type { Decision } from "./requests";
import { decide, record } from "./rules";
import type { Effect } from "./rules";
import { decodeSnapshot, encodeSnapshot, RosterSnapshotError } from "./snapshot";
import { Tombstones } from "./tombstones";
import type { RosterView } from "./view";

/** How many outcomes and how many events are kept. At ten writes a second, the memory covers a quarter of an hour. */
export const HISTORY_LIMIT = 10_000;

/**
 * Lengths of the roster's histories. Both are part of the replicated state: members with different limits would compute
 * different snapshots. So they are no settings; tests lower them to reach the limit with few entries.
 */
export interface HistoryOptions {
  /**
   * How many outcomes of writes are remembered. A higher limit lets a request be repeated after more other writes; a
   * lower one makes snapshots smaller.
   * @default 10000
   */
  readonly outcomesLimit?: number;
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
}

interface RestoreOptions extends HistoryOptions {
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
  readonly targetId: bigint;
  /** Whether the outcome is kept for a repeated request. */
  readonly remember: boolean;
}

const NOTHING = { effects: [], targetId: 0n } as const;

export class Roster implements RosterView {
  readonly clusterId: bigint;
  private currentRevision = 0;
  private currentIndex = 0;
  private readonly byId = new Map<bigint, MemberRecord>();
  private readonly idByName = new Map<string, bigint>();
  private readonly tombstones = new Tombstones();
  private readonly requests: RequestMemory;
  private readonly events: EventHistory;
  /** Members in order of id; null from a change until the next call of members(). */
  private sortedMembers: readonly MemberRecord[] | null = null;

  constructor(options: RosterOptions) {
    this.clusterId = options.clusterId;
    this.requests = new RequestMemory(options.outcomesLimit ?? HISTORY_LIMIT);
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
    for (const member of state.members) roster.put(record(member));
    roster.tombstones.addAll(state.tombstones);
    for (const outcome of state.outcomes) {
      if (outcome.member !== undefined) record(outcome.member);
      roster.requests.remember(outcome);
    }
    for (const event of state.events) {
      if (event.member !== undefined) record(event.member);
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

    const judged = checkFit(this.judge(command, entry.index), command, entry);
    for (const effect of judged.effects) this.perform(effect, entry.index);
    if (judged.remember && command.requestId !== "") {
      this.requests.remember(toOutcome(command.requestId, command.fingerprint, judged.decision));
    }
    const confChange = judged.effects.length > 0 ? entry.confChange : null;
    return { kind: "command", command, decision: judged.decision, confChange };
  }

  /**
   * The decision that apply would take now; changes nothing.
   *
   * An accepted decision has the roster's current revision. A record that the command would create or change has
   * revision 0, because there is no entry yet whose index could be its revision.
   */
  evaluate(command: RosterCommand): Decision {
    return this.judge(command, 0).decision;
  }

  /** The whole replicated state as bytes. Members that applied the same index have the same bytes. */
  snapshot(): Uint8Array {
    return encodeSnapshot({
      clusterId: this.clusterId,
      revision: this.currentRevision,
      members: [...this.members()],
      tombstones: [...this.tombstones.all()],
      outcomes: this.requests.all(),
      events: this.events.all(),
    });
  }

  /** A hash of snapshot(), to compare rosters at the same applied index. Costs as much as snapshot(). */
  hash(): string {
    return fnv1a64(this.snapshot());
  }

  private judge(command: RosterCommand, index: number): Judgement {
    const { requestId, expectedRevision } = command;
    const known = requestId === "" ? undefined : this.requests.find(requestId);
    if (known !== undefined) return { decision: decideRepeat(known, command), remember: false, ...NOTHING };

    if (expectedRevision !== 0 && expectedRevision !== this.currentRevision) {
      const refusal = refuse("REVISION_MISMATCH", {
        revision: String(this.currentRevision),
        expected_revision: String(expectedRevision),
      });
      return { decision: { accepted: false, repeated: false, refusal }, remember: true, ...NOTHING };
    }

    const verdict = decide(this, command, index);
    if (!verdict.ok) {
      const { refusal } = verdict;
      return { decision: { accepted: false, repeated: false, refusal }, remember: true, ...NOTHING };
    }
    const { member, effects, targetId } = verdict;
    const changed = effects.length > 0;
    const revision = changed && index > 0 ? index : this.currentRevision;
    const decision = { accepted: true, repeated: false, changed, member, revision } as const;
    return { decision, effects, targetId, remember: true };
  }

  private perform(effect: Effect, index: number): void {
    if (effect.event === RosterEvent_Kind.REMOVED) {
      this.byId.delete(effect.member.id);
      this.idByName.delete(effect.member.name);
      this.tombstones.add(effect.tombstone);
    } else {
      this.put(effect.member);
    }
    this.events.append({ kind: effect.event, revision: index, member: effect.member });
    this.sortedMembers = null;
    this.currentRevision = index;
  }

  private put(member: MemberRecord): void {
    this.byId.set(member.id, member);
    this.idByName.set(member.name, member.id);
  }
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
  const wanted = confChangeSteps(command, judged.targetId);
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
