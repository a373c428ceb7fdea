/**
 * Compares the outcomes that writers got with the logs on the members' disks, which are read offline after the members
 * have stopped.
 *
 * Each log is replayed through a roster, from its first entry or from its snapshot. Checked: logs and rosters agree
 * wherever they overlap; every request_id changed the roster at most once; an acknowledged one changed it exactly once, in
 * every log, at its revision; a refused one never changed it; one that was promised not to be appended is in no log.
 */
import { createHash } from "node:crypto";
import { commandOf, HISTORY_LIMIT, Roster, toMember } from "../../../src/roster/index";
import { RosterSnapshot } from "../../../src/generated/muster/storage/v1/snapshot";
import type { Member } from "../../../src/client";
import type { Entry, Snapshot } from "../../../src/raft/index";
import { readLogOffline } from "../../../src/storage/offline";
import type { OfflineLog } from "../../../src/storage/offline";
import type { WriteRecord } from "./load";

/** The roster's hash is computed only every this many entries, because it covers up to 10,000 remembered outcomes. */
const HASH_EVERY = 1000;

export interface LogOf {
  readonly name: string;
  readonly dataDir: string;
}

/** The replayed log of one member. */
interface Replay {
  readonly name: string;
  readonly log: OfflineLog;
  /** A digest of term, contents and, if the entry was replayed, decision and members, by index. */
  readonly entryDigests: Map<number, string>;
  readonly stateDigests: Map<number, string>;
  /** The hash of the whole roster, by index. */
  readonly hashes: Map<number, string>;
  /** The indexes at which a request changed the roster, by request_id. */
  readonly changes: Map<string, Set<number>>;
  /** Every request_id in an entry or in a remembered outcome. */
  readonly seen: Set<string>;
  readonly roster: Roster;
  /** The members at each revision. */
  readonly rosters: Map<number, ReturnType<Roster["members"]>>;
  readonly snapshotIndex: number;
  /** The snapshot may have dropped the outcomes of writes before this index; 0 when it has all outcomes. */
  coveredFrom: number;
}

export interface LogSummary {
  /** Violations, one line each; empty when there are none. */
  readonly problems: readonly string[];
  /** The last index of the shortest log. */
  readonly lastIndex: number;
  /** Acknowledged writes whose outcomes every member has dropped, because more than 10,000 writes followed. */
  readonly uncovered: number;
  /** The index of each member's newest snapshot; 0 without one. */
  readonly snapshots: readonly number[];
  /** The members at a revision; null when no member's log has the revision. */
  readonly membersAt: (revision: number) => readonly Member[] | null;
}

/**
 * @param appliedIndex the index that all members had applied before they stopped, up to which all entries are committed
 */
export async function checkLogs(
  logs: readonly LogOf[],
  records: readonly WriteRecord[],
  appliedIndex: number,
): Promise<LogSummary> {
  const read = await Promise.all(
    logs.map(async ({ name, dataDir }) => ({ name, log: await readLogOffline(dataDir) })),
  );
  const committed = Math.max(appliedIndex, ...read.map(({ log }) => log.hardState.commit));
  const snapshotIndexes = new Set(read.flatMap(({ log }) => log.report.snapshots.map(({ index }) => index)));
  const isHashed = (index: number): boolean =>
    index % HASH_EVERY === 0 || index === committed || snapshotIndexes.has(index);
  const replays = read.map(({ name, log }) => replay(name, log, committed, isHashed));
  const problems = [
    ...read.flatMap(({ name, log }) => wholeness(name, log, appliedIndex)),
    ...disagreements(replays),
    ...replays.flatMap((one) => brokenPromises(one, records)),
  ];
  const [first] = replays;
  return {
    problems: shortened(problems),
    lastIndex: Math.min(...read.map(({ log }) => log.report.lastIndex)),
    uncovered: countBefore(records, Math.min(...replays.map(({ coveredFrom }) => coveredFrom))),
    snapshots: replays.map(({ snapshotIndex }) => snapshotIndex),
    membersAt: (revision) => first?.rosters.get(revision)?.map(toMember) ?? null,
  };
}

function wholeness(name: string, log: OfflineLog, appliedIndex: number): string[] {
  const { tornTail, damagedSnapshots, lastIndex } = log.report;
  const problems: string[] = [];
  if (tornTail !== null) problems.push(`${name}: torn tail ${JSON.stringify(tornTail)}`);
  if (damagedSnapshots.length > 0) problems.push(`${name}: damaged snapshots`);
  if (lastIndex < appliedIndex)
    problems.push(`${name}: ends at ${lastIndex}, but ${appliedIndex} was applied`);
  return problems;
}

function replay(
  name: string,
  log: OfflineLog,
  committed: number,
  isHashed: (index: number) => boolean,
): Replay {
  const { snapshot, identity } = log;
  const roster =
    snapshot === null
      ? new Roster({ clusterId: identity.clusterId })
      : Roster.restore(snapshot.data, { appliedIndex: snapshot.meta.index });
  const changes = new Map<string, Set<number>>();
  const seen = new Set<string>();
  const result: Replay = {
    name,
    log,
    entryDigests: new Map(),
    stateDigests: new Map(),
    hashes: new Map(),
    changes,
    seen,
    roster,
    rosters: new Map([[roster.revision, roster.members()]]),
    snapshotIndex: snapshot?.meta.index ?? 0,
    coveredFrom: 0,
  };
  if (snapshot !== null) recallOutcomes(snapshot, result);
  const membersDigest = memoized((members: ReturnType<Roster["members"]>) =>
    digest(JSON.stringify(members.map(toMember), plain)),
  );
  for (const entry of log.entries) {
    const requestId = commandOf(entry)?.requestId ?? "";
    if (requestId !== "") seen.add(requestId);
    if (entry.index > committed) continue;
    result.entryDigests.set(entry.index, digestEntry(entry));
    if (entry.index <= roster.appliedIndex) continue;
    const applied = roster.apply(entry);
    result.rosters.set(roster.revision, roster.members());
    if (applied.kind === "command" && requestId !== "") {
      const { decision } = applied;
      if (decision.accepted && decision.changed && !decision.repeated) note(changes, requestId, entry.index);
    }
    const outcome = applied.kind === "command" ? digest(JSON.stringify(applied.decision, plain)) : "empty";
    result.stateDigests.set(entry.index, `${outcome} ${roster.revision} ${membersDigest(roster.members())}`);
    if (isHashed(entry.index)) result.hashes.set(entry.index, roster.hash());
  }
  return result;
}

/** Adds the effects of entries before a snapshot, from the outcomes of the last 10,000 writes that it remembers. */
function recallOutcomes({ meta, data }: Snapshot, replay: Replay): void {
  replay.hashes.set(meta.index, replay.roster.hash());
  const { outcomes } = RosterSnapshot.decode(data);
  for (const { requestId, reason, revision } of outcomes) {
    replay.seen.add(requestId);
    if (reason === "") note(replay.changes, requestId, revision);
  }
  if (outcomes.length < HISTORY_LIMIT) return;
  replay.coveredFrom = outcomes.find(({ reason }) => reason === "")?.revision ?? meta.index;
}

function disagreements(replays: readonly Replay[]): string[] {
  const problems: string[] = [];
  for (const what of ["entryDigests", "stateDigests", "hashes"] as const) {
    const known = new Map<number, { name: string; value: string }>();
    for (const { name, [what]: digests } of replays) {
      for (const [index, value] of digests) {
        const other = known.get(index);
        if (other === undefined) known.set(index, { name, value });
        else if (other.value !== value) {
          problems.push(`${what} at index ${index} differ: ${other.name} ${other.value}, ${name} ${value}`);
        }
      }
    }
  }
  return problems;
}

function brokenPromises(
  { name, changes, seen, coveredFrom }: Replay,
  records: readonly WriteRecord[],
): string[] {
  const problems: string[] = [];
  for (const [requestId, indexes] of changes) {
    if (indexes.size > 1)
      problems.push(`${name}: ${requestId} changed the roster at ${[...indexes].join(" and ")}`);
  }
  for (const { requestId, what, attempts, outcome } of records) {
    const at = [...(changes.get(requestId) ?? [])].join();
    const of = `${name}: ${requestId} (${what}, ${attempts} attempts)`;
    if (outcome.kind === "acknowledged" && outcome.revision < coveredFrom) continue;
    if (outcome.kind === "acknowledged" && at !== String(outcome.revision)) {
      problems.push(
        `${of} was acknowledged at ${outcome.revision}, and changed the roster at ${at || "no index"}`,
      );
    } else if (outcome.kind === "refused" && at !== "") {
      problems.push(`${of} was refused (${outcome.reason}), and changed the roster at ${at}`);
    } else if (outcome.kind === "not-appended" && seen.has(requestId)) {
      problems.push(`${of} was promised not to be appended (${outcome.reasons.join()}), and is in the log`);
    }
  }
  return problems;
}

function countBefore(records: readonly WriteRecord[], index: number): number {
  return records.filter(({ outcome }) => outcome.kind === "acknowledged" && outcome.revision < index).length;
}

/** Shortens the list of problems, because one defect usually causes many of them. */
function shortened(problems: readonly string[]): string[] {
  const SHOWN = 20;
  const more = problems.length - SHOWN;
  return more > 0 ? [...problems.slice(0, SHOWN), `and ${more} more`] : [...problems];
}

function digestEntry(entry: Entry): string {
  return `${entry.term} ${digest(JSON.stringify(entry, plain))}`;
}

function digest(text: string): string {
  return createHash("sha1").update(text).digest("base64");
}

/** Replaces bigints (ids), which JSON can't represent. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}

function note(map: Map<string, Set<number>>, key: string, index: number): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, new Set([index]));
  else known.add(index);
}

/** Caches the last result; useful because the roster returns the same array until it changes. */
function memoized<K, V>(compute: (key: K) => V): (key: K) => V {
  let last: { key: K; value: V } | null = null;
  return (key) => {
    if (last === null || last.key !== key) last = { key, value: compute(key) };
    return last.value;
  };
}
