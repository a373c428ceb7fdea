/**
 * The check after a load: waits until all members have applied the same index, stops them as a service manager does, reads
 * their logs offline, and compares these with the outcomes of the writers and with the members' answers before the stop.
 */
import type { Member } from "../../../src/generated/muster/v1/member";
import type { Load } from "./load";
import { checkLogs } from "./log_check";
import type { LogSummary } from "./log_check";
import type { ProcessCluster } from "./process_cluster";

/** Requires that every member runs and `load` has ended. The problems in the result include those of the load itself. */
export async function stopAndCheck(cluster: ProcessCluster, load: Load): Promise<LogSummary> {
  await cluster.settled();
  const live = await Promise.all(cluster.members.map((member) => member.members()));
  const applied = await Promise.all(cluster.members.map((member) => member.cluster()));
  const exits = await Promise.all(cluster.members.map((member) => member.stop()));
  const logs = cluster.members.map(({ name, spec }) => ({ name, dataDir: spec.dataDir }));
  const appliedIndex = Math.max(...applied.map((c) => Number(c?.appliedIndex)));
  const summary = await checkLogs(logs, load.records, appliedIndex);
  const problems = [...summary.problems, ...load.unexpected];
  for (const [i, { code, signal }] of exits.entries()) {
    if (code !== 0) problems.push(`${cluster.members[i]?.name} ended with ${code ?? signal}`);
  }
  for (const [i, answer] of live.entries()) {
    // A repeated write or a publish may have been committed after the answer, so compare at the answer's revision.
    const revision = Number(answer.header?.revision);
    if (!sameMembers(answer.members, summary.membersAt(revision)))
      problems.push(`${cluster.members[i]?.name} showed other members at revision ${revision} than its log`);
  }
  return { ...summary, problems };
}

function sameMembers(shown: readonly Member[], logged: readonly Member[] | null): boolean {
  const text = (value: unknown): string =>
    JSON.stringify(value, (_key, v: unknown) => (typeof v === "bigint" ? v.toString() : v));
  return logged !== null && text(shown) === text(logged);
}
