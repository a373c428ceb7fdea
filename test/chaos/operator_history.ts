/**
 * What the random operator has been told by the members, and what contradicts it: acknowledged writes, rosters by revision,
 * leaders by term, and how fresh a linearizable answer has to be. Pure; the time of an event is the order of the calls.
 *
 * Everything is kept by cluster id: a cluster that was restored from a backup begins anew.
 */
import type { Member, ResponseHeader } from "../../src/client";
import type { WriteRecord } from "../e2e/support/load";

/** What is known of one cluster. */
class ClusterHistory {
  readonly records: WriteRecord[] = [];
  /** The members by revision, with the name of the member that answered first. */
  readonly rosters = new Map<string, { readonly text: string; readonly by: string }>();
  readonly leaders = new Map<string, { readonly leader: string; readonly by: string }>();
  /** Nothing that begins now may answer linearizably with an older revision. */
  floor = 0n;
  floorBy = "";
}

export class OperatorHistory {
  /** Contradictions, in the order in which they were seen. */
  readonly problems: string[] = [];
  private readonly clusters = new Map<string, ClusterHistory>();

  of(clusterId: string): ClusterHistory {
    let found = this.clusters.get(clusterId);
    if (found === undefined) this.clusters.set(clusterId, (found = new ClusterHistory()));
    return found;
  }

  /** Acknowledged writes of all clusters. */
  acknowledgedCount(): number {
    const all = [...this.clusters.values()].flatMap(({ records }) => records);
    return all.filter(({ outcome }) => outcome.kind === "acknowledged").length;
  }

  /** The oldest revision that a linearizable read that begins now may answer with. */
  floor(clusterId: string): bigint {
    return this.of(clusterId).floor;
  }

  /** A write was answered. Writes of unknown clusters (no answer ever came) are not kept. */
  wrote(clusterId: string, record: WriteRecord): void {
    const history = this.of(clusterId);
    history.records.push(record);
    if (record.outcome.kind !== "acknowledged") return;
    this.raise(history, BigInt(record.outcome.revision), `the acknowledged write ${record.requestId}`);
  }

  /** Any answer of a member, by its header. */
  heard(by: string, header: ResponseHeader): void {
    if (header.leaderId === "") return;
    const { leaders } = this.of(header.clusterId);
    const term = header.raftTerm.toString();
    const known = leaders.get(term);
    if (known === undefined) leaders.set(term, { leader: header.leaderId, by });
    else if (known.leader !== header.leaderId) {
      this.problems.push(
        `two leaders in term ${term}: ${known.leader} by ${known.by}, ${header.leaderId} by ${by}`,
      );
    }
  }

  /** A list of members, of any consistency. */
  listed(by: string, header: ResponseHeader, members: readonly Member[]): void {
    const { rosters } = this.of(header.clusterId);
    const text = JSON.stringify(members, plain);
    const revision = header.revision.toString();
    const known = rosters.get(revision);
    if (known === undefined) rosters.set(revision, { text, by });
    else if (known.text !== text) {
      this.problems.push(
        `two rosters at revision ${revision}: ${known.by} has ${known.text}, ${by} has ${text}`,
      );
    }
  }

  /** A linearizable answer. @param floor what `floor` gave when the read began */
  readLinearizable(by: string, header: ResponseHeader, floor: bigint): void {
    const history = this.of(header.clusterId);
    if (header.revision < floor) {
      this.problems.push(
        `a linearizable read at ${by} answered with revision ${header.revision}, after ${history.floorBy} at ${floor} or later`,
      );
    }
    this.raise(history, header.revision, `the read at ${by}`);
  }

  private raise(history: ClusterHistory, revision: bigint, by: string): void {
    if (revision <= history.floor) return;
    history.floor = revision;
    history.floorBy = by;
  }
}

/** Replaces bigints, which JSON can't represent. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
