/**
 * The state machine of one member: committed entries go into the roster, snapshots come out of it and into it.
 *
 * Invariant: the core's configuration and the roster change at the same index or not at all; a refused command changes
 * neither. Waiting calls are settled by what was applied, never by what was proposed.
 */
import type { Roster, ApplyResult, Decision } from "../roster/index";
import type { ConfChange, ConfState, Entry, Snapshot } from "../raft/index";
import type { Storage, StorageError } from "../storage/storage";
import type { Logger } from "./logger";
import type { Waiters } from "./waiters";

/** When to take a snapshot, and what to keep of the log. */
export interface SnapshotPolicy {
  /** Applied entries after the newest snapshot. @default 10000: a restart replays at most this many and those kept */
  readonly everyEntries: number;
  /** Bytes of log after the newest snapshot. @default 64 MiB */
  readonly everyBytes: number;
  /** Entries kept before the snapshot, for followers that are a little behind. @default 5000 */
  readonly keepEntries: number;
}

export const DEFAULT_SNAPSHOT_POLICY: SnapshotPolicy = {
  everyEntries: 10_000,
  everyBytes: 64 * 1024 * 1024,
  keepEntries: 5_000,
};

/** After a snapshot that found no space, this part of the usual number of entries passes before the next try. */
const SAVE_RETRY_DIVISOR = 10;

export interface ApplierOptions {
  readonly storage: Storage;
  readonly roster: Roster;
  readonly waiters: Waiters;
  readonly snapshots: SnapshotPolicy;
  readonly restoreRoster: (snapshot: Snapshot) => Roster;
  readonly log: Logger;
  /** Tells the core of a membership change that was accepted, and at which index. */
  readonly applyConfChange: (change: ConfChange, index: number) => void;
  readonly confState: () => ConfState;
  /** A member was added, changed or removed, a joint configuration was left, or another roster was installed. */
  readonly onRosterChange: () => void;
  readonly onStorageError: (error: StorageError) => void;
}

export class Applier {
  private rosterNow: Roster;
  private lastTerm: number;
  private snapshotIndex: number;
  private saving = false;
  /** No snapshot is tried before this index: the last one found no space. */
  private nextSaveIndex = 0;
  /** A peer's snapshot is restored once to find out whether it can be, and kept until it is installed. */
  private readonly restored = new WeakMap<Snapshot, Roster>();

  constructor(private readonly options: ApplierOptions) {
    this.rosterNow = options.roster;
    const snapshot = options.storage.snapshot();
    this.snapshotIndex = snapshot?.meta.index ?? 0;
    this.lastTerm = snapshot?.meta.term ?? 0;
  }

  get roster(): Roster {
    return this.rosterNow;
  }

  /** Applies committed entries, in order. @throws UnknownCommandError: the member must stop */
  applyAll(entries: readonly Entry[]): void {
    for (const entry of entries) this.apply(entry);
    this.maybeSave();
  }

  private apply(entry: Entry): void {
    const { waiters, log, applyConfChange, onRosterChange } = this.options;
    const result = this.rosterNow.apply(entry);
    this.lastTerm = entry.term;
    const change = confChangeOf(entry, result);
    if (change !== null) applyConfChange(change, entry.index);
    if (result.kind === "empty") {
      // A joint configuration was left: its outgoing voters are gone for good.
      if (change !== null) onRosterChange();
      waiters.applied(entry.index, null, null);
      return;
    }
    const { command, decision } = result;
    log.applied({ index: entry.index, term: entry.term, command, decision });
    if (isChange(decision)) onRosterChange();
    waiters.applied(entry.index, command.proposalId, decision);
  }

  /** Whether a peer's snapshot holds a roster of this cluster. */
  canInstall(snapshot: Snapshot): boolean {
    try {
      this.restored.set(snapshot, this.options.restoreRoster(snapshot));
      return true;
    } catch (error) {
      this.options.log.warn(
        { index: snapshot.meta.index, error: String(error) },
        "refused a snapshot from a peer",
      );
      return false;
    }
  }

  /** Replaces the roster by one that the leader sent, and that is on disk. */
  install(snapshot: Snapshot): void {
    const { index, term } = snapshot.meta;
    this.rosterNow = this.restored.get(snapshot) ?? this.options.restoreRoster(snapshot);
    this.snapshotIndex = index;
    this.lastTerm = term;
    this.options.log.info({ index, term }, "installed a snapshot");
    this.options.onRosterChange();
    // Its entries were skipped: repeating a request finds its remembered outcome, or makes one.
    this.options.waiters.installed(index);
  }

  /** The state machine as it is now, with the configuration at the same index. */
  capture(): Snapshot {
    const { appliedIndex: index } = this.rosterNow;
    const meta = { index, term: this.lastTerm, confState: this.options.confState() };
    return { meta, data: this.rosterNow.snapshot() };
  }

  private maybeSave(): void {
    const { snapshots, storage, log, onStorageError } = this.options;
    const index = this.rosterNow.appliedIndex;
    if (this.saving || index === this.snapshotIndex || index < this.nextSaveIndex) return;
    const due =
      index - this.snapshotIndex >= snapshots.everyEntries ||
      storage.logBytesSinceSnapshot() >= snapshots.everyBytes;
    if (!due) return;
    const snapshot = this.capture();
    const { term } = snapshot.meta;
    this.saving = true;
    storage.saveSnapshot(snapshot, snapshots.keepEntries, (error) => {
      this.saving = false;
      if (error?.reason === "disk-full") {
        // Nothing is lost: the log keeps what the snapshot would have covered.
        this.nextSaveIndex = index + Math.ceil(snapshots.everyEntries / SAVE_RETRY_DIVISOR);
        log.warn(
          { index, term, file: error.file, errno: error.errno },
          "no space for a snapshot; tried again later",
        );
        return;
      }
      if (error !== null) {
        onStorageError(error);
        return;
      }
      this.snapshotIndex = Math.max(this.snapshotIndex, index);
      log.info({ index, term }, "saved a snapshot");
    });
  }
}

/** What the core has to apply: an entry without a command leaves a joint configuration, a refused one changes nothing. */
function confChangeOf(entry: Entry, result: ApplyResult): ConfChange | null {
  return result.kind === "empty" ? entry.confChange : result.confChange;
}

function isChange(decision: Decision): boolean {
  return decision.accepted && decision.changed && !decision.repeated;
}
