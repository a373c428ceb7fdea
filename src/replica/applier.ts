/**
 * Committed entries into the state machines of one member, snapshots out of them and into them.
 *
 * Invariant: the core's configuration and the membership change at the same index or not at all; a refused command
 * changes neither. Waiting calls are settled by what was applied, never by what was proposed.
 */
import type { Log } from "../base/log";
import type { ConfChange, ConfState, Entry, NodeId, Snapshot, SnapshotMeta } from "../raft/index";
import type { Storage, StorageError } from "../storage/storage";
import { CAPTURE_BYTES_PER_TURN, Captures } from "./captures";
import type { Machines } from "./machines";
import type { Waiters } from "./waiters";

/** When to take a snapshot, and what to keep of the log. */
export interface SnapshotPolicy {
  /**
   * So many applied entries after the newest snapshot, the next one is taken. A restart replays at most this many and those kept. Raise it where
   * snapshots are large and rare restarts may take longer; lower it where restarts must be quick.
   * @default 10000
   */
  readonly everyEntries: number;
  /**
   * So many bytes of log after the newest snapshot, the next one is taken, however few entries they are. Raise it with everyEntries where entries are large; lower it on a small
   * disk.
   * @default 64 MiB
   */
  readonly everyBytes: number;
  /**
   * Entries kept before the snapshot, for followers that are a little behind. Raise it where members are away for long
   * and snapshots cost more than entries; lower it to save disk.
   * @default 5000
   */
  readonly keepEntries: number;
  /**
   * So many bytes of the state are encoded in one turn of the event loop. Raise it to have snapshots sooner; lower it where
   * turns take too long. Tests lower it so that a small state takes many turns.
   * @default 1 MiB: a few milliseconds
   */
  readonly captureBytesPerTurn?: number;
}

export const DEFAULT_SNAPSHOT_POLICY: SnapshotPolicy = {
  everyEntries: 10_000,
  everyBytes: 64 * 1024 * 1024,
  keepEntries: 5_000,
};

/** After a snapshot that found no space, this part of the usual number of entries passes before the next try. */
const SAVE_RETRY_DIVISOR = 10;
/** The bound in bytes differs between members by at most this part of it. */
const STAGGER_BYTES_DIVISOR = 4;

interface ApplierOptions {
  readonly storage: Storage;
  readonly machines: Machines;
  readonly waiters: Waiters;
  readonly snapshots: SnapshotPolicy;
  readonly log: Log;
  /** Tells the core of a membership change that was accepted, and at which index. */
  readonly applyConfChange: (change: ConfChange, index: number) => void;
  readonly confState: () => ConfState;
  /** The roster changed, a joint configuration was left, or another state was installed. */
  readonly onMembershipChange: () => void;
  readonly onStorageError: (error: StorageError) => void;
  /** This member's id: members take their snapshots at different indexes. */
  readonly id: NodeId;
  /** Runs a function soon, in a turn of its own. */
  readonly defer: (fn: () => void) => void;
  /** Runs it so that an error ends the member. */
  readonly guard: (act: () => void) => void;
}

export class Applier {
  /** Index of the last entry applied; 0 before the first. */
  applied: number;
  private lastTerm: number;
  private snapshotIndex: number;
  private saving = false;
  /** No snapshot is tried before this index: the last one found no space. */
  private nextSaveIndex = 0;
  /** A peer's snapshot is decoded once to find out whether it can be, and kept until it is installed. */
  private readonly decoded = new WeakMap<Snapshot, () => void>();

  private readonly captures: Captures;
  /** By how many entries this member's snapshots come before those of one with phase 0. */
  private readonly phase: number;

  /** Puts the storage's newest snapshot in place. @throws what a machine's restore throws */
  constructor(private readonly options: ApplierOptions) {
    const snapshot = options.storage.snapshot();
    if (snapshot !== null) options.machines.restore(snapshot.data, snapshot.meta.index)();
    this.applied = snapshot?.meta.index ?? 0;
    this.snapshotIndex = this.applied;
    this.lastTerm = snapshot?.meta.term ?? 0;
    const { id, defer, guard, snapshots } = options;
    const bytesPerTurn = snapshots.captureBytesPerTurn ?? CAPTURE_BYTES_PER_TURN;
    this.captures = new Captures({ defer, guard, bytesPerTurn });
    this.phase = Number(id % BigInt(snapshots.everyEntries));
  }

  /** Applies committed entries, in order. @throws what a machine's apply throws: the member must stop */
  applyAll(entries: readonly Entry[]): void {
    for (const entry of entries) this.apply(entry);
    this.maybeSave();
  }

  private apply(entry: Entry): void {
    const { machines, waiters, applyConfChange, onMembershipChange } = this.options;
    const membersBefore = machines.roster.members();
    const { proposalId, result, confChange } = machines.apply(entry);
    this.applied = entry.index;
    this.lastTerm = entry.term;
    if (confChange !== null) applyConfChange(confChange, entry.index);
    // The roster gives the same array until it changes; leaving a joint configuration is a change of the core alone.
    if (confChange !== null || machines.roster.members() !== membersBefore) onMembershipChange();
    waiters.applied(entry.index, proposalId, result);
  }

  /** Whether a peer's snapshot is one of this cluster's state machines. */
  canInstall(snapshot: Snapshot): boolean {
    try {
      this.decoded.set(snapshot, this.decode(snapshot));
      return true;
    } catch (error) {
      const fields = { index: snapshot.meta.index, error: String(error) };
      this.options.log.warn(fields, "refused a snapshot from a peer");
      return false;
    }
  }

  /** Replaces the state by one that the leader sent, and that is on disk. */
  install(snapshot: Snapshot): void {
    const { index, term } = snapshot.meta;
    const put = this.decoded.get(snapshot) ?? this.decode(snapshot);
    put();
    this.applied = index;
    this.snapshotIndex = index;
    this.lastTerm = term;
    this.options.log.info({ index, term }, "installed a snapshot");
    this.options.onMembershipChange();
    // Its entries were skipped: repeating a request finds its remembered outcome, or makes one.
    this.options.waiters.installed(index);
  }

  private decode({ data, meta }: Snapshot): () => void {
    return this.options.machines.restore(data, meta.index);
  }

  /** The state as it is now, with the configuration at the same index, in slices; see Captures.take. */
  capture(done: (snapshot: Snapshot) => void): () => void {
    return this.captures.take(this.metaNow(), () => this.options.machines.freeze(), done);
  }

  private metaNow(): SnapshotMeta {
    return { index: this.applied, term: this.lastTerm, confState: this.options.confState() };
  }

  /**
   * Whether a snapshot is due. Members pass the bounds at different indexes, by their ids: they have the same state, and
   * while one of them encodes and writes it the others have their full speed.
   */
  private isDue(index: number): boolean {
    const { snapshots, storage } = this.options;
    const { everyEntries, everyBytes } = snapshots;
    const round = (at: number): number => Math.floor((at + this.phase) / everyEntries);
    if (round(index) > round(this.snapshotIndex)) return true;
    const bytesMax = everyBytes * (1 - this.phase / everyEntries / STAGGER_BYTES_DIVISOR);
    return storage.logBytesSinceSnapshot() >= bytesMax;
  }

  private maybeSave(): void {
    const index = this.applied;
    if (this.saving || index === this.snapshotIndex || index < this.nextSaveIndex || !this.isDue(index))
      return;
    this.saving = true;
    this.captures.takeOnce(
      this.metaNow(),
      () => this.options.machines.freeze(),
      (snapshot) => {
        this.save(snapshot);
      },
    );
  }

  private save(snapshot: Snapshot): void {
    const { snapshots, storage, guard } = this.options;
    storage.saveSnapshot(snapshot, snapshots.keepEntries, (error) => {
      guard(() => {
        this.saved(snapshot.meta, error);
      });
    });
  }

  private saved({ index, term }: SnapshotMeta, error: StorageError | null): void {
    const { snapshots, log, onStorageError } = this.options;
    this.saving = false;
    if (error?.reason === "disk-full") {
      // Nothing is lost: the log keeps what the snapshot would have covered.
      this.nextSaveIndex = index + Math.ceil(snapshots.everyEntries / SAVE_RETRY_DIVISOR);
      const fields = { index, term, file: error.file, errno: error.errno };
      log.warn(fields, "no space for a snapshot; tried again later");
      return;
    }
    if (error !== null) {
      onStorageError(error);
      return;
    }
    this.snapshotIndex = Math.max(this.snapshotIndex, index);
    log.info({ index, term }, "saved a snapshot");
  }
}
