/**
 * What commands may ask of data directories and snapshot files, without a member that runs. Types only: offline.ts does
 * the work, and main.ts brings the two together, so that commands do not depend on the server.
 */

/** One segment of a log. Indexes of entries it may hold; none when `lastIndex` is below `firstIndex`. */
export interface SegmentReport {
  readonly file: string;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly records: number;
  readonly usedBytes: number;
  readonly fileBytes: number;
}

export interface EntryReport {
  readonly index: number;
  readonly term: number;
  /** In words; "empty" for an entry without a command. */
  readonly kind: string;
  readonly requestId: string;
  /** Whether it changes the Raft configuration. */
  readonly confChange: boolean;
  readonly sizeBytes: number;
}

/** A place in a file where something is wrong, or was cut short. */
export interface PlaceReport {
  readonly file: string;
  /** Null when it is about the whole file. */
  readonly offset: number | null;
  readonly text: string;
}

export interface LogReport {
  readonly dir: string;
  /** In hex, as everywhere. */
  readonly clusterId: string;
  readonly memberId: string;
  readonly instanceId: string;
  /** What the mark of a removed member says; null without one. */
  readonly removed: string | null;
  readonly term: number;
  /** In hex; empty when nobody was voted for in this term. */
  readonly vote: string;
  readonly commit: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly bytesSinceSnapshot: number;
  readonly segments: readonly SegmentReport[];
  /** Whole ones, newest first. */
  readonly snapshots: readonly { readonly name: string; readonly index: number; readonly term: number }[];
  /** Bytes at the end that a power loss cut short; nothing in them was acknowledged. */
  readonly tornTail: (PlaceReport & { readonly sizeBytes: number }) | null;
  /** Damaged or missing snapshots that an older one stands in for. */
  readonly damage: readonly PlaceReport[];
  /** Files that the next start deletes. */
  readonly leftovers: readonly string[];
  readonly entries: readonly EntryReport[];
}

export interface SnapshotMemberReport {
  readonly id: string;
  readonly name: string;
  readonly role: "voter" | "learner";
  readonly started: boolean;
  readonly peerUrls: readonly string[];
  readonly adminUrls: readonly string[];
}

export interface SnapshotReport {
  readonly file: string;
  readonly clusterId: string;
  /** The member that was asked for it. */
  readonly memberId: string;
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  readonly members: readonly SnapshotMemberReport[];
  readonly tombstoneCount: number;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Of the Muster that wrote it. */
  readonly version: string;
  readonly sizeBytes: number;
  /** In hex. */
  readonly sha256: string;
}

export interface RestoreRequest {
  readonly file: string;
  readonly name: string;
  readonly peerUrl: string;
  /** `name=peer-url,...`; empty: this member alone. */
  readonly initialCluster: string;
  readonly initialClusterToken: string;
  readonly dataDir: string;
}

export interface RestoreReport {
  readonly file: string;
  readonly dataDir: string;
  readonly oldClusterId: string;
  readonly oldIndex: number;
  readonly oldRevision: number;
  readonly clusterId: string;
  readonly memberId: string;
  readonly members: readonly { readonly id: string; readonly name: string; readonly peerUrl: string }[];
  /** The log begins after it. */
  readonly index: number;
  readonly revision: number;
  readonly ended: readonly { readonly id: string; readonly name: string }[];
  readonly tombstoneCount: number;
  readonly droppedOutcomes: number;
}

export interface OfflineCommands {
  /** @throws Error, with one line that names file and offset, when the directory can't be read */
  readLog(dir: string, withEntries: boolean): Promise<LogReport>;
  /** @throws Error with one line that names the file */
  readSnapshot(file: string): Promise<SnapshotReport>;
  /** @throws UsageError for what was asked, Error with one line for what went wrong */
  restore(request: RestoreRequest): Promise<RestoreReport>;
}

/** Loads them when a command needs them. */
export type LoadOffline = () => OfflineCommands;
