/**
 * One member of a simulated group: a RawNode with its disk, its storage threads and its state machine, driven as the
 * product's node does. A crash loses unsynced writes.
 *
 * With asynchronous storage writes the append work goes through two queues: work handed over and not yet durable, and
 * work that is durable and whose responses have not been delivered. A crash keeps a prefix of the first.
 */
import type { RaftConfig } from "../../../src/raft/config";
import { MessageType } from "../../../src/raft/message";
import type { Message } from "../../../src/raft/message";
import { RawNode } from "../../../src/raft/raw_node";
import type { Ready } from "../../../src/raft/ready";
import {
  EMPTY_CONF_STATE,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  NO_NODE,
  Role,
} from "../../../src/raft/types";
import type { Entry, NodeId, Snapshot } from "../../../src/raft/types";
import type { AppendBatch } from "../../../src/storage/storage";
import { digestAfter, formatConfState, isConfChange, Violation } from "./checker";
import type { MachineState, SafetyChecker } from "./checker";
import { LogImage } from "./log_image";

/** Options that all cores of a group share; id, storage, random and applied differ by member. */
export type GroupConfig = Omit<RaftConfig, "id" | "storage" | "random" | "applied">;

/** Events that a member reports to its network. */
export interface MemberEvents {
  send(message: Message): void;
  readDone(id: NodeId, context: bigint, index: number): void;
}

/** Defects planted into a run, to show that the checks find them. */
export type PlantedBug = "forget-vote" | "ack-before-sync" | "lose-entry";

export interface DiskOptions {
  /** Whether the core can read a batch as soon as it is handed over, not only once it is durable. */
  readonly visibleAtCall: boolean;
  readonly bug: PlantedBug | null;
}

const EMPTY_MACHINE: MachineState = {
  index: 0,
  digest: 0,
  confState: EMPTY_CONF_STATE,
  confText: formatConfState(EMPTY_CONF_STATE),
};

/** Where a crash interrupts the handling of a Ready. */
export type CrashPoint = "none" | "before-write" | "after-write" | "before-advance";

/** The state machine refuses a change whose context ends in this byte. */
export const REFUSED_AT_APPLY = 0xff;

export class Member {
  /** Null while crashed. */
  raw: RawNode | null = null;
  incarnation = 0;
  machine: MachineState = { ...EMPTY_MACHINE };
  /** Writes handed over and not durable. */
  readonly appendQueue: Message[] = [];
  /** Durable writes whose responses are not delivered. */
  readonly ackQueue: Message[] = [];
  readonly applyQueue: Message[] = [];
  /** The part that survives a crash. */
  private durable = new LogImage();
  /** All writes handed to the disk. Without asynchronous writes the same image as `durable`. */
  private written = this.durable;
  private syncedCommit = 0;
  /** Committed entries up to this index are checked. */
  private checkedCommit = 0;
  private lastCommitted = 0;
  /** Indexes of the configuration changes in `written`, ascending. */
  private confIndexes: number[] = [];
  /** Term that this member leads, or led before the current event; otherwise 0. */
  private leading = 0;
  /** The last term of this leader for which leader completeness was checked. */
  private ledTerm = 0;
  /** Index of the last snapshot received since the start. */
  private installed = 0;

  constructor(
    readonly id: NodeId,
    private readonly config: GroupConfig,
    private readonly disk: DiskOptions,
    private readonly random: RaftConfig["random"],
    private readonly checker: SafetyChecker,
    private readonly events: MemberEvents,
  ) {}

  /** Sets the member's first state to a snapshot. */
  bootstrap(snapshot: Snapshot): void {
    this.durable.write({ hardState: null, snapshot, entries: [], mustSync: true });
    this.durable.hardState = { term: snapshot.meta.term, vote: NO_NODE, commit: snapshot.meta.index };
    this.syncedCommit = snapshot.meta.index;
  }

  get log(): LogImage {
    return this.written;
  }

  /** Starts from the disk. */
  start(): void {
    this.incarnation++;
    this.written = this.config.asyncStorageWrites === true ? this.durable.clone() : this.durable;
    const snapshot = this.durable.snapshot();
    this.machine = snapshot === null ? { ...EMPTY_MACHINE } : machineOf(snapshot);
    this.checkedCommit = this.lastCommitted = this.machine.index;
    this.ledTerm = this.leading = this.installed = 0;
    this.confIndexes = [];
    for (let index = this.durable.firstIndex(); index <= this.durable.lastIndex(); index++) {
      const entry = this.durable.entry(index);
      if (entry !== null && isConfChange(entry)) this.confIndexes.push(index);
    }
    this.raw = new RawNode({
      ...this.config,
      id: this.id,
      storage: this.disk.visibleAtCall ? this.written : this.durable,
      random: this.random,
      applied: this.machine.index,
    });
    this.lastCommitted = this.raw.committed;
    this.observe();
  }

  /**
   * Loses all memory, and the unsynced writes after the first `keep` of them.
   */
  crash(keep: number): void {
    this.raw = null;
    for (const work of this.appendQueue.slice(0, keep)) this.durable.write(batchOf(work));
    this.appendQueue.length = 0;
    this.ackQueue.length = 0;
    this.applyQueue.length = 0;
    const { hardState } = this.durable;
    if (this.config.asyncStorageWrites !== true && this.random.below(2) === 0) {
      this.durable.hardState = { ...hardState, commit: Math.min(hardState.commit, this.syncedCommit) };
    }
    if (this.disk.bug === "forget-vote")
      this.durable.hardState = { ...this.durable.hardState, vote: NO_NODE };
    if (this.disk.bug === "lose-entry") this.durable.dropLast();
  }

  /** Handles Readys until there are none, as the node's loop does. True when a crash point was reached. */
  handleReady(crashAt: CrashPoint): boolean {
    const raw = this.raw;
    if (raw === null) return false;
    for (let turn = 0; raw.hasReady(); turn++) {
      if (turn === MAX_TURNS) throw new Violation(`${this.id} always has another Ready`);
      const ready = raw.ready();
      this.observe();
      for (const read of ready.readStates) this.events.readDone(this.id, read.context, read.index);
      if (this.config.asyncStorageWrites === true) this.queueWork(ready);
      else if (this.work(raw, ready, crashAt)) return true;
      this.observe();
    }
    // With no Ready left, `written` holds the core's whole log.
    this.checkCommitted(raw.committed);
    return false;
  }

  /** Makes the oldest batch durable. */
  processAppend(): void {
    const work = this.appendQueue.shift();
    if (work === undefined) return;
    const batch = batchOf(work);
    this.durable.write(batch);
    if (batch.snapshot !== null) this.installMachine(batch.snapshot);
    this.ackQueue.push(work);
  }

  /** Delivers the responses of the oldest durable batch. */
  processAck(): void {
    const work = this.ackQueue.shift();
    if (work === undefined) return;
    const early = this.disk.bug === "ack-before-sync";
    this.deliver(early ? work.responses.filter(isStorageResponse) : work.responses);
  }

  /** Applies the oldest committed batch. */
  processApply(): void {
    const work = this.applyQueue.shift();
    const raw = this.raw;
    if (work === undefined || raw === null) return;
    for (const entry of work.entries) this.apply(raw, entry);
    this.deliver(work.responses);
  }

  /** Does all the work of the storage threads. */
  finishWork(): void {
    while (this.appendQueue.length > 0) this.processAppend();
    while (this.ackQueue.length > 0) this.processAck();
    while (this.applyQueue.length > 0) this.processApply();
  }

  /** Takes a snapshot of the state machine and drops entries up to `keep` before it. */
  takeSnapshot(keep: number): void {
    const { index, digest, confState } = this.machine;
    const term = this.durable.term(index);
    if (index <= (this.durable.snapshot()?.meta.index ?? 0) || typeof term !== "number") return;
    const bytes = Uint8Array.of(digest >>> 24, digest >>> 16, digest >>> 8, digest);
    const snapshot: Snapshot = { meta: { index, term, confState }, data: bytes };
    this.durable.saveSnapshot(snapshot, index - keep);
    if (this.written !== this.durable) this.written.saveSnapshot(snapshot, index - keep);
  }

  /** Checks the core's state against the group's. Called after every event that may change it. */
  observe(): void {
    const raw = this.raw;
    if (raw === null) return;
    const committed = raw.committed;
    if (!(raw.applied <= committed && committed <= raw.lastIndex)) {
      throw new Violation(
        `${this.id}: applied ${raw.applied}, committed ${committed}, last ${raw.lastIndex}`,
      );
    }
    if (committed < this.lastCommitted) throw new Violation(`${this.id}: commit index falls to ${committed}`);
    this.lastCommitted = committed;
    if (raw.role === Role.Leader) {
      this.leading = raw.term;
      this.checker.leads(this.id, this.incarnation, raw.term);
    }
    // Entries that a leader committed before it stepped down in its term are its own commits; in a later term it learns
    // the commits of others.
    if (this.leading !== raw.term) this.leading = 0;
    if (this.leading > 0) this.checkCommitted(committed);
    if (raw.role !== Role.Leader) this.leading = 0;
  }

  /**
   * Checks newly committed entries. A leader's are all in `written`; a follower's only after its Readys are handled, as
   * entries there may still be replaced.
   */
  private checkCommitted(committed: number): void {
    const limit = Math.min(committed, this.written.lastIndex());
    for (let index = this.checkedCommit + 1; index <= limit; index++) {
      const term = this.written.term(index);
      if (typeof term === "number") {
        if (this.leading > 0) this.checker.commits(this.id, this.leading, index, term);
        else this.checker.learns(this.id, index, term);
      }
      this.checkedCommit = index;
    }
  }

  /** Writes a batch and checks its entries. */
  private writes(batch: AppendBatch): void {
    const raw = this.raw;
    const first = batch.entries[0];
    if (batch.snapshot !== null) {
      this.confIndexes = [];
      this.checkedCommit = Math.max(this.checkedCommit, batch.snapshot.meta.index);
    }
    if (first !== undefined && first.index <= this.checkedCommit) {
      throw new Violation(`${this.id} writes over committed entry ${first.index}`);
    }
    this.written.write(batch);
    if (first !== undefined) this.noteEntries(batch.entries, first.index);
    if (raw?.role === Role.Leader && raw.term !== this.ledTerm) {
      this.ledTerm = raw.term;
      this.checker.completeness(this.id, raw.term, this.written.lastIndex(), (index) => {
        const term = this.written.term(index);
        return typeof term === "number" ? term : null;
      });
    }
  }

  private noteEntries(entries: readonly Entry[], firstIndex: number): void {
    const { confIndexes } = this;
    while ((confIndexes.at(-1) ?? 0) >= firstIndex) confIndexes.pop();
    for (const entry of entries) {
      const previous = this.written.term(entry.index - 1);
      if (typeof previous !== "number") throw new Violation(`${this.id}: no entry before ${entry.index}`);
      this.checker.appends(this.id, entry, previous);
      if (!isConfChange(entry)) continue;
      confIndexes.push(entry.index);
      this.checker.confChanges(this.id, confIndexes, this.lastCommitted);
    }
  }

  /** One Ready without asynchronous writes. True when `crashAt` was reached. */
  private work(raw: RawNode, ready: Ready, crashAt: CrashPoint): boolean {
    if (crashAt === "before-write") return true;
    this.writes(ready);
    if (ready.snapshot !== null) this.installMachine(ready.snapshot);
    if (ready.mustSync || ready.snapshot !== null) this.syncedCommit = this.durable.hardState.commit;
    if (crashAt === "after-write") return true;
    for (const message of ready.messages) this.events.send(message);
    for (const entry of ready.committedEntries) this.apply(raw, entry);
    if (crashAt === "before-advance") return true;
    raw.advance();
    return false;
  }

  /** One Ready with asynchronous writes, where all work is in its messages. */
  private queueWork(ready: Ready): void {
    for (const message of ready.messages) {
      if (message.to === LOCAL_APPEND_THREAD) {
        this.writes(batchOf(message));
        this.appendQueue.push(message);
        if (this.disk.bug === "ack-before-sync") {
          this.deliver(message.responses.filter((response) => !isStorageResponse(response)));
        }
      } else if (message.to === LOCAL_APPLY_THREAD) {
        this.applyQueue.push(message);
      } else {
        this.events.send(message);
      }
    }
  }

  private apply(raw: RawNode, entry: Entry): void {
    const { machine } = this;
    // A snapshot that covers this entry arrived after it was handed out.
    if (raw.hasPendingSnapshot || entry.index <= this.installed) return;
    if (entry.index !== machine.index + 1) {
      throw new Violation(`${this.id} applies ${entry.index} after ${machine.index}`);
    }
    if (this.durable.term(entry.index) !== entry.term) {
      throw new Violation(`${this.id} applies ${entry.term}/${entry.index}, which is not durable here`);
    }
    machine.index = entry.index;
    machine.digest = digestAfter(machine.digest, entry);
    const change = entry.confChange;
    if (change !== null && change.context.at(-1) !== REFUSED_AT_APPLY) {
      machine.confState = raw.applyConfChange(change);
      machine.confText = formatConfState(machine.confState);
    }
    this.checker.applies(this.id, machine);
  }

  private installMachine(snapshot: Snapshot): void {
    this.installed = snapshot.meta.index;
    this.machine = machineOf(snapshot);
    this.checker.applies(this.id, this.machine);
  }

  private deliver(responses: readonly Message[]): void {
    for (const response of responses) {
      if (response.to === this.id) this.raw?.stepLocal(response);
      else this.events.send(response);
      this.observe();
    }
  }
}

/** Whether the response reports durable writes to the core; the others are votes and acknowledgements. */
function isStorageResponse(response: Message): boolean {
  return response.from === LOCAL_APPEND_THREAD;
}

/** More Readys than one event can cause. */
const MAX_TURNS = 1000;

function machineOf(snapshot: Snapshot): MachineState {
  const [a = 0, b = 0, c = 0, d = 0] = snapshot.data;
  const { index, confState } = snapshot.meta;
  return {
    index,
    digest: (a << 24) | (b << 16) | (c << 8) | d,
    confState,
    confText: formatConfState(confState),
  };
}

/** The batch that a StorageAppend message asks for. Without a hard state its term, vote and commit are all zero. */
function batchOf(work: Message): AppendBatch {
  if (work.type !== MessageType.StorageAppend)
    throw new Violation(`message ${work.type} for the append thread`);
  const none = work.term === 0 && work.vote === NO_NODE && work.commit === 0;
  return {
    hardState: none ? null : { term: work.term, vote: work.vote, commit: work.commit },
    entries: work.entries,
    snapshot: work.snapshot,
    mustSync: true,
  };
}
