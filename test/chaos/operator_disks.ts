/**
 * The oracle of the random operator: reads every data directory offline, that of a running member too, and compares what is
 * committed in them with each other and with the acknowledged writes.
 *
 * Directories may disappear afterwards (a lost disk): what was once seen as committed in one is remembered.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Entry } from "../../src/raft/index";
import { commandOf, formatId } from "../../src/roster/index";
import { readLogOffline } from "../../src/storage/offline";
import type { OfflineLog } from "../../src/storage/offline";
import type { OperatorHistory } from "./operator_history";

/** A directory that the oracle reads. */
export interface DirectoryView {
  readonly name: string;
  readonly dataDir: string;
  readonly running: boolean;
  /** Of a removed member or an ended cluster: once read, it does not change any more while no process runs on it. */
  readonly retired: boolean;
  /** False for a directory that was doubled, put back or made anew: it need not have what was acknowledged. */
  readonly trusted: boolean;
}

interface Committed {
  readonly digest: string;
  readonly requestId: string;
  /** The directory in which it was first seen. */
  readonly by: string;
}

/** Tries to read the directory of a running member, whose files may be replaced meanwhile. */
const READS_MAX = 10;

export class DiskOracle {
  readonly problems: string[] = [];
  private readonly clusters = new Map<string, Map<number, Committed>>();
  /** Up to which index the entries of a directory have been compared. */
  private readonly compared = new Map<string, number>();
  /** Directories that are not read again. */
  private readonly closed = new Set<string>();

  constructor(private readonly history: OperatorHistory) {}

  /** The directory's content was replaced: it is compared from the beginning again. */
  forget(dataDir: string): void {
    this.compared.delete(dataDir);
    this.closed.delete(dataDir);
  }

  /** Reads all directories and adds to `problems`. @param present the cluster whose acknowledged writes are looked for */
  async check(directories: readonly DirectoryView[], present: string): Promise<void> {
    // What is acknowledged later than this may be in none of the logs that are read now.
    const acknowledged = this.acknowledged(present);
    const trusted: OfflineLog[] = [];
    for (const view of directories) {
      if (view.running) this.closed.delete(view.dataDir);
      if (this.closed.has(view.dataDir)) continue;
      const log = await this.read(view);
      if (log === null) continue;
      const clusterId = formatId(log.identity.clusterId);
      this.compare(view, log, clusterId);
      if (view.trusted && clusterId === present) trusted.push(log);
      if (view.retired && !view.running) this.closed.add(view.dataDir);
    }
    this.requireAcknowledged(present, acknowledged, trusted);
  }

  private acknowledged(clusterId: string): Acknowledged[] {
    return this.history
      .of(clusterId)
      .records.flatMap(({ requestId, outcome }) =>
        outcome.kind === "acknowledged" ? [{ requestId, revision: outcome.revision }] : [],
      );
  }

  private async read(view: DirectoryView): Promise<OfflineLog | null> {
    if (!existsSync(join(view.dataDir, "member"))) return null;
    for (let n = 1; ; n++) {
      try {
        return await readLogOffline(view.dataDir);
      } catch (error) {
        if (n < READS_MAX) continue;
        // A running member writes while it is read; the next check reads it again.
        if (!view.running && view.trusted)
          this.problems.push(`the directory of ${view.name} can't be read: ${String(error)}`);
        return null;
      }
    }
  }

  /** Compares the committed entries of a directory with those of all others. */
  private compare({ name, dataDir }: DirectoryView, log: OfflineLog, clusterId: string): void {
    let known = this.clusters.get(clusterId);
    if (known === undefined) this.clusters.set(clusterId, (known = new Map<number, Committed>()));
    const { commit } = log.hardState;
    const from = this.compared.get(dataDir) ?? 0;
    for (const entry of log.entries) {
      if (entry.index <= from || entry.index > commit) continue;
      const digest = digestOf(entry);
      const other = known.get(entry.index);
      if (other === undefined) {
        known.set(entry.index, { digest, requestId: requestIdOf(entry), by: name });
      } else if (other.digest !== digest) {
        const [mine, theirs] = [requestIdOf(entry), other.requestId];
        this.problems.push(
          `two committed entries at index ${entry.index}: ${other.by} has ${other.digest} (${theirs}), ${name} ${digest} (${mine})`,
        );
        return;
      }
    }
    this.compared.set(dataDir, Math.max(from, commit));
  }

  /** Every acknowledged write is the entry at its revision, in at least one directory that nobody has tampered with. */
  private requireAcknowledged(
    clusterId: string,
    acknowledged: readonly Acknowledged[],
    logs: readonly OfflineLog[],
  ): void {
    const committed = this.clusters.get(clusterId);
    for (const { requestId, revision } of acknowledged) {
      const seen = committed?.get(revision);
      if (seen !== undefined && seen.requestId !== requestId) {
        this.problems.push(
          `${requestId} was acknowledged at ${revision}, where ${seen.by} has ${seen.requestId} committed`,
        );
        return;
      }
      const kept = logs.some((log) => {
        const first = log.entries[0]?.index ?? Infinity;
        const entry = log.entries[revision - first];
        return entry === undefined
          ? (log.snapshot?.meta.index ?? 0) >= revision
          : requestIdOf(entry) === requestId;
      });
      if (kept) continue;
      this.problems.push(`${requestId} was acknowledged at ${revision}, and no intact directory has it`);
      return;
    }
  }
}

interface Acknowledged {
  readonly requestId: string;
  readonly revision: number;
}

function requestIdOf(entry: Entry): string {
  try {
    return commandOf(entry)?.requestId ?? "";
  } catch {
    return "";
  }
}

function digestOf(entry: Entry): string {
  const plain = (_key: string, value: unknown): unknown => {
    if (typeof value === "bigint") return `0x${value.toString(16)}`;
    return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
  };
  return `${entry.term}/${createHash("sha1").update(JSON.stringify(entry, plain)).digest("hex").slice(0, 12)}`;
}
