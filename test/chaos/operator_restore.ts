/**
 * The end of one cluster and the beginning of the next, for the random operator: the logs are compared with every outcome
 * that was answered, and `muster snapshot restore` makes the directories of a new cluster.
 */
import { muster } from "../e2e/support/processes";
import { checkLogs } from "../e2e/support/log_check";
import type { OperatedMember } from "./operator_member";
import { Violation } from "./operator_world";
import type { OperatorWorld } from "./operator_world";

/** Members of a restored cluster. */
const RESTORED_MAX = 3;

/**
 * Ends all members, and compares the logs of the healthy ones with the outcome of every write of this cluster: those
 * acknowledged are in each once, those refused or never appended in none.
 */
export async function endCluster(world: OperatorWorld): Promise<void> {
  const { load, history } = world;
  await load.without(async () => {
    const judged = world.hasHealthyMajority();
    if (judged) await world.caughtUp();
    const healthy = world.healthy();
    const applied = await Promise.all(healthy.map((member) => member.cluster()));
    await Promise.all([...world.members.values()].map((member) => world.end(member, false)));
    if (!judged) return;
    const logs = healthy.map(({ name, spec }) => ({ name, dataDir: spec.dataDir }));
    const appliedIndex = Math.min(...applied.map((answer) => Number(answer?.appliedIndex ?? 0)));
    const { problems } = await checkLogs(logs, history.of(world.clusterId).records, appliedIndex);
    if (problems.length > 0) throw new Violation(problems.join("; "));
  });
}

/**
 * Ends this cluster and begins a new one of up to three of its members.
 * @param floor the revision of the last change that was acknowledged before the file was asked for
 */
export async function restoreCluster(world: OperatorWorld, file: string, floor: bigint): Promise<string> {
  const inspected = await muster(["snapshot", "inspect", file, "--output", "json"]);
  const saved = BigInt((JSON.parse(inspected.stdout) as { revision: string }).revision);
  if (saved < floor)
    throw new Violation(`the file has revision ${saved}, but ${floor} was acknowledged before`);
  if (world.running().length > 0) await endCluster(world);
  await world.check();
  const names = [...world.members.keys()].slice(0, RESTORED_MAX);
  const restored: OperatedMember[] = [];
  for (const name of names) restored.push(await world.prepare(name, "existing"));
  world.endEpoch();
  for (const member of restored) world.members.set(member.name, member);
  const list = restored.map(({ name, spec }) => `${name}=${spec.peerUrl}`).join(",");
  const token = `restored-${world.next()}`;
  for (const member of restored) {
    const { name, peerUrl, dataDir } = member.spec;
    const words = ["snapshot", "restore", file, "--name", name, "--peer-url", peerUrl, "--data-dir", dataDir];
    member.mountDisk();
    const made = await muster([...words, "--initial-cluster", list, "--initial-cluster-token", token]);
    if (made.code !== 0) throw new Violation(`muster ${words.join(" ")}: ${made.stderr}`);
  }
  for (const member of restored) member.startWith(list);
  await world.serves();
  return `${names.join(", ")} of a new cluster from revision ${saved}`;
}
