/**
 * The state of a cluster that has lost its quorum for good, from the data directories of stopped members: `muster rescue`.
 *
 * The longest log wins, by the rule of elections: the last entry's term, then its index. It has every committed entry that any
 * of the others has (leader completeness, Raft paper 5.4), so everything acknowledged that these directories hold. All its
 * entries are applied, also those that are not known to be committed: they may have been acknowledged. Learners count too.
 * Nothing is changed in the directories; their locks are held while they are read.
 */
import { VERSION } from "../base/version";
import type { Snapshot } from "../raft/index";
import { formatId } from "../roster/index";
import type { Roster } from "../roster/index";
import { lockDir, releaseLock } from "../storage/data_dir";
import { DataDirError } from "../storage/errors";
import type { DirLock, StorageFs } from "../storage/fs";
import { readLogOffline } from "../storage/offline";
import type { OfflineLog } from "../storage/offline";
import { replayRoster } from "./replay_roster";
import type { SavedSnapshot } from "./saved_snapshot";

/** A directory whose log can be read to its end. */
interface Survivor {
  readonly dir: string;
  readonly log: OfflineLog;
  readonly roster: Roster;
  readonly lastIndex: number;
  readonly lastTerm: number;
}

/** A directory that gives nothing. */
interface LeftOut {
  readonly dir: string;
  /** One line: what is wrong, and where. */
  readonly problem: string;
}

interface Rescued {
  readonly chosen: Survivor;
  /** The longest log first. */
  readonly survivors: readonly Survivor[];
  readonly leftOut: readonly LeftOut[];
  /** The largest commit index that any survivor knows. */
  readonly commit: number;
  readonly saved: SavedSnapshot;
}

/** Why nothing was rescued. The message names the directories. */
class RescueError extends Error {
  override readonly name = "RescueError";
}

/**
 * @param dirs different directories, at least one
 * @param timeMs the wall clock, milliseconds since 1970
 * @throws RescueError when no directory is usable, or they are of different clusters or histories; DataDirError "in-use" when
 *   a member still runs on one
 */
export async function rescue(fs: StorageFs, dirs: readonly string[], timeMs: number): Promise<Rescued> {
  const locks: DirLock[] = [];
  const survivors: Survivor[] = [];
  const leftOut: LeftOut[] = [];
  try {
    for (const dir of dirs) {
      try {
        locks.push(await lockDir(fs, dir));
        survivors.push(await survivorOf(fs, dir));
      } catch (error) {
        if (!(error instanceof DataDirError || error instanceof RescueError)) throw error;
        // What a running member has cannot be judged: it may lead, and its cluster may not be lost.
        if (error instanceof DataDirError && error.reason === "in-use") throw error;
        leftOut.push({ dir, problem: error.message });
      }
    }
  } finally {
    for (const lock of locks) await releaseLock(lock);
  }
  survivors.sort((a, b) => b.lastTerm - a.lastTerm || b.lastIndex - a.lastIndex);
  const [chosen] = survivors;
  if (chosen === undefined) {
    const problems = leftOut.map(({ problem }) => problem).join("; ");
    throw new RescueError(`none of the directories is usable: ${problems}`);
  }
  for (const other of survivors) checkSameHistory(chosen, other);
  const commit = Math.max(...survivors.map(({ log }) => log.hardState.commit));
  return { chosen, survivors, leftOut, commit, saved: savedFrom(chosen, timeMs) };
}

async function survivorOf(fs: StorageFs, dir: string): Promise<Survivor> {
  const log = await readLogOffline(dir, fs);
  const replayed = replayRoster(log);
  if (replayed.kind === "broken") {
    const where = replayed.index === null ? "its snapshot" : `entry ${String(replayed.index)}`;
    throw new RescueError(`${dir}: ${where} can't be applied: ${replayed.text}`);
  }
  const { lastIndex } = log.report;
  if (lastIndex === 0) throw new RescueError(`${dir}: its member has not received anything yet`);
  const lastTerm = log.entries.at(-1)?.term ?? log.snapshot?.meta.term ?? 0;
  return { dir, log, roster: replayed.roster, lastIndex, lastTerm };
}

/** @throws RescueError when the chosen log lacks what another one knows to be committed */
function checkSameHistory(chosen: Survivor, other: Survivor): void {
  const [first, second] = [chosen.log.identity.clusterId, other.log.identity.clusterId];
  if (first !== second) {
    throw new RescueError(
      `the directories are of different clusters: ${chosen.dir} of ${formatId(first)}, ${other.dir} of ` +
        `${formatId(second)}. Name those of one cluster only`,
    );
  }
  const { commit } = other.log.hardState;
  const [ours, theirs] = [termAt(chosen.log, commit), termAt(other.log, commit)];
  if (ours === null || theirs === null || ours === theirs) return;
  throw new RescueError(
    `${chosen.dir} and ${other.dir} have different histories: at index ${String(commit)}, which ${other.dir} knows to be ` +
      `committed, they have terms ${String(ours)} and ${String(theirs)}. One of them is a copy of an older state or was ` +
      "started from one: leave it out",
  );
}

/** Null where the log has no entry any more: its snapshot covers it. */
function termAt({ entries, snapshot }: OfflineLog, index: number): number | null {
  const first = entries[0]?.index ?? 0;
  const found = entries[index - first]?.term;
  return found ?? (snapshot?.meta.index === index ? snapshot.meta.term : null);
}

function savedFrom({ log, roster, lastIndex, lastTerm }: Survivor, timeMs: number): SavedSnapshot {
  const { clusterId, memberId } = log.identity;
  const learners = roster.members().flatMap(({ id, learner }) => (learner ? [id] : []));
  const confState = {
    voters: roster.voters(),
    learners,
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  const snapshot: Snapshot = {
    meta: { index: lastIndex, term: lastTerm, confState },
    data: roster.snapshot(),
  };
  return { clusterId, memberId, timeMs, version: VERSION, snapshot };
}
