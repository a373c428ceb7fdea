/**
 * The roster: the replicated state machine, and the only store of members.
 *
 * Invariants: entries are applied once each, in order of index; two rosters that applied the same entries are equal,
 * byte by byte in their snapshots; apply never throws on what a user sent. A command that is refused, repeated or
 * changes nothing leaves the revision. Order of decisions: request_id, expected_revision, rules (rules.ts). Pure.
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

/** How many outcomes and events are kept by default. */
export const HISTORY_LIMIT = 10_000;

export interface HistoryOptions {
  /**
   * How many outcomes of writes are remembered. Part of what every member must do alike: not a setting, tests only.
   * @default 10000
   */
  readonly outcomesLimit?: number;
  /**
   * How many events a watch can resume from. As above: tests only.
   * @default 10000
   */
  readonly eventsLimit?: number;
}

export interface RosterOptions extends HistoryOptions {
  /** Fixed at bootstrap. 0 only while a joining member does not know it yet. */
  readonly clusterId: bigint;
}

export interface RestoreOptions extends HistoryOptions {
  /** The log index of the snapshot (SnapshotMeta.index): its bytes do not hold it. */
  readonly appliedIndex: number;
}

/** What became of an entry. */
export type ApplyResult =
  /** No command: a leader's first entry, a change that the leader's core refused, leaving a joint configuration. */
  | { readonly kind: "empty" }
  | {
      readonly kind: "command";
      readonly command: RosterCommand;
      readonly decision: Decision;
      /**
       * What the core must apply: set exactly when the entry is a membership change that was accepted and changed the
       * roster. Null for a refused or repeated one, and for an update that changes nothing.
       */
      readonly confChange: ConfChange | null;
    };

/** Entries out of order: a defect of the caller, never bad input. */
export class RosterInvariantError extends Error {
  override readonly name = "RosterInvariantError";
}

/** A decision and what follows from it. */
interface Judgement {
  readonly decision: Decision;
  readonly effects: readonly Effect[];
  readonly targetId: bigint;
  /** Whether a repeat gets this outcome again. */
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
  /** Members in order of id; null after a change, until someone asks. */
  private sortedMembers: readonly MemberRecord[] | null = null;

  constructor(options: RosterOptions) {
    this.clusterId = options.clusterId;
    this.requests = new RequestMemory(options.outcomesLimit ?? HISTORY_LIMIT);
    this.events = new EventHistory(options.eventsLimit ?? HISTORY_LIMIT);
  }

  /**
   * The roster of a snapshot.
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

  /** Every member in ascending order of id. The same array until the roster changes; frozen records. */
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

  /** The remembered outcome of a request, as a repeat would get it; null when it is not remembered. */
  outcome(requestId: string): Decision | null {
    const found = this.requests.find(requestId);
    return found === undefined ? null : fromOutcome(found);
  }

  /** Changes after `revision`, oldest first; null when some are not kept any more (see `oldestRevision`). */
  eventsSince(revision: number): readonly RosterEvent[] | null {
    return this.events.since(revision);
  }

  /** The smallest revision that `eventsSince` still answers. */
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
   * The revision of an accepted one is the roster's current one, and whatever the command would change has the
   * revision 0: it has no entry.
   */
  evaluate(command: RosterCommand): Decision {
    return this.judge(command, 0).decision;
  }

  /** Everything that must be equal on members that applied the same index, as bytes. Equal rosters, equal bytes. */
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

  /** A hash of the snapshot: compares rosters at equal applied index. Computed on demand, costs as much as snapshot(). */
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

/** The first outcome again, or a refusal when the request_id was meant for something else. */
function decideRepeat(known: RequestOutcome, command: RosterCommand): Decision {
  if (sameBytes(known.fingerprint, command.fingerprint)) return fromOutcome(known);
  const refusal = refuse("REQUEST_ID_REUSED", { request_id: command.requestId });
  return { accepted: false, repeated: false, refusal };
}

/**
 * Roster and Raft configuration change together or not at all: an accepted command whose entry does not carry exactly
 * its membership change is refused, and forgotten, so that a repeat can succeed.
 *
 * It happens only when the proposing leader looked the member up in a roster that was behind.
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
