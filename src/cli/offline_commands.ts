/**
 * The interface between commands and the code that reads data directories and snapshot files. Types only: offline.ts
 * implements it and main.ts passes the implementation in, so that commands do not depend on the server.
 */

/** One segment of a log. It holds no entries when `lastIndex` is less than `firstIndex`. */
export interface SegmentReport {
  readonly file: string;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Number of records, entries and others. */
  readonly records: number;
  /** Bytes of the file that hold records. */
  readonly usedBytes: number;
  /** Size of the file; the bytes after the records are filler. */
  readonly fileBytes: number;
}

/** One entry of a log. */
interface EntryReport {
  readonly index: number;
  readonly term: number;
  /** Name of the command; "empty" for an entry without one. */
  readonly kind: string;
  readonly requestId: string;
  /** Whether the entry changes the Raft configuration. */
  readonly confChange: boolean;
  readonly sizeBytes: number;
}

/** A place in a file that is damaged or incomplete. */
export interface PlaceReport {
  readonly file: string;
  /** In bytes; null when the text is about the whole file. */
  readonly offset: number | null;
  /** For humans. */
  readonly text: string;
}

/** The contents of a data directory. */
export interface LogReport {
  readonly dir: string;
  /** In hex, as all ids here. */
  readonly clusterId: string;
  readonly memberId: string;
  readonly instanceId: string;
  /** Revision and text of the mark that a removed member has in its data directory; null without a mark. */
  readonly removed: string | null;
  readonly term: number;
  /** In hex; empty when the member did not vote in this term. */
  readonly vote: string;
  readonly commit: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly bytesSinceSnapshot: number;
  readonly segments: readonly SegmentReport[];
  /** The undamaged snapshots, newest first. */
  readonly snapshots: readonly { readonly name: string; readonly index: number; readonly term: number }[];
  /** An incomplete record at the end, left by a power loss; nothing in it was acknowledged. Null without one. */
  readonly tornTail: (PlaceReport & { readonly sizeBytes: number }) | null;
  /** Damaged or missing snapshots, in place of which an older one is used, and contents that contradict each other. */
  readonly damage: readonly PlaceReport[];
  /** Whether a member starts from it all the same: the log and an older snapshot hold the same state. */
  readonly usable: boolean;
  /** Files of unfinished work; the next start deletes them. */
  readonly leftovers: readonly string[];
  /** Empty unless they were asked for. */
  readonly entries: readonly EntryReport[];
}

/** One member in a saved snapshot. */
interface SnapshotMemberReport {
  readonly id: string;
  readonly name: string;
  readonly role: "voter" | "learner";
  readonly started: boolean;
  readonly peerUrls: readonly string[];
  readonly adminUrls: readonly string[];
}

/** The contents of a saved snapshot. */
export interface SnapshotReport {
  readonly file: string;
  readonly clusterId: string;
  /** The member that sent the snapshot. */
  readonly memberId: string;
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  readonly members: readonly SnapshotMemberReport[];
  readonly tombstoneCount: number;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Version of Muster that wrote the file. */
  readonly version: string;
  readonly sizeBytes: number;
  /** In hex. */
  readonly sha256: string;
}

/** The data directory of one member of a new cluster, to be made from a saved snapshot. */
export interface RestoreRequest {
  readonly file: string;
  /** Name of this member. */
  readonly name: string;
  /** Peer URL of this member. */
  readonly peerUrl: string;
  /** All members of the new cluster: `name=peer-url,...`. Empty: this member alone. */
  readonly initialCluster: string;
  /** Gives clusters that are restored from the same file different ids. May be empty. */
  readonly initialClusterToken: string;
  /** The directory to make. */
  readonly dataDir: string;
}

/** A data directory that was made from a saved snapshot. */
export interface RestoreReport {
  readonly file: string;
  readonly dataDir: string;
  readonly oldClusterId: string;
  readonly oldIndex: number;
  readonly oldRevision: number;
  readonly clusterId: string;
  readonly memberId: string;
  readonly members: readonly { readonly id: string; readonly name: string; readonly peerUrl: string }[];
  /** Index of the new cluster's snapshot; the log begins after it. */
  readonly index: number;
  readonly revision: number;
  /** Members of the old cluster, which are removed in the new one. */
  readonly ended: readonly { readonly id: string; readonly name: string }[];
  readonly tombstoneCount: number;
  /** Number of remembered request ids that were dropped. */
  readonly droppedOutcomes: number;
}

/** One data directory whose log can be read to its end. */
interface SurvivorReport {
  readonly dir: string;
  readonly memberId: string;
  /** The name in the rescued state; empty when it does not know the member. */
  readonly name: string;
  /** In the rescued state. */
  readonly role: "voter" | "learner" | "removed" | "unknown";
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly term: number;
  readonly commit: number;
}

/** What `muster rescue` found, and what the file holds. */
export interface RescueReport {
  /** The one with the longest log first: the file is made of it. */
  readonly survivors: readonly SurvivorReport[];
  readonly leftOut: readonly { readonly dir: string; readonly problem: string }[];
  readonly clusterId: string;
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  readonly members: readonly {
    readonly id: string;
    readonly name: string;
    readonly role: "voter" | "learner";
    readonly peerUrl: string;
  }[];
  /** Number of entries in the file that no survivor knows to be committed. */
  readonly beyondCommit: number;
}

/** Commands that work on files. */
export interface OfflineCommands {
  /** @throws Error with a message of one line that names file and offset, when the directory can't be read */
  readLog(dir: string, withEntries: boolean): Promise<LogReport>;
  /** @throws Error with a message of one line that names the file */
  readSnapshot(file: string): Promise<SnapshotReport>;
  /** @throws UsageError when the request is wrong, Error with a message of one line for any other failure */
  restore(request: RestoreRequest): Promise<RestoreReport>;
  /** @throws Error with a message of one line when nothing can be rescued, or a member still runs */
  rescue(dirs: readonly string[]): Promise<{ readonly report: RescueReport; readonly bytes: Uint8Array }>;
}

/** Loads the implementation when a command needs it. */
export type LoadOffline = () => OfflineCommands;
