/**
 * `muster member add --wait`: waits until the new member votes, and says meanwhile what it lacks.
 *
 * Only looks: the leader promotes the member by itself, whether or not this command still waits.
 */
import { MemberRole, MusterError } from "../client";
import type { GetClusterResponse, Member, MemberStatus } from "../client";
import { systemClock } from "../client";
import { isUnavailable } from "./failure";
import { printable } from "./output";
import type { CommandContext } from "./options";

/** Time for a command that waits, in milliseconds, when --timeout is missing: to start the member, and to fill its disk. */
export const WAIT_TIMEOUT_MS = 10 * 60_000;
/** Between two looks, in milliseconds. A promotion takes two election timeouts, and a look is one read at the leader. */
const LOOK_MS = 500;
/** Time for one look, in milliseconds. */
const LOOK_TIMEOUT_MS = 5000;

/**
 * What became of the wait: "votes", "removed" (the member is no member any more), or "timeout".
 *
 * Progress goes to stderr, a line whenever there is something else to say.
 */
export async function waitUntilVoter(
  { client, io, remainingMs, clock = systemClock }: CommandContext,
  { id, name }: Pick<Member, "id" | "name">,
): Promise<"votes" | "removed" | "timeout"> {
  let said = "";
  const say = (text: string): void => {
    if (text !== said) io.stderr.write(`muster: waiting for ${printable(name)}: ${printable(text)}\n`);
    said = text;
  };
  while (remainingMs() > LOOK_MS) {
    try {
      const timeoutMs = Math.min(LOOK_TIMEOUT_MS, remainingMs());
      const cluster = await client.getCluster({}, { timeoutMs });
      const found = cluster.members.find(({ member }) => member?.id === id);
      if (found?.member === undefined) return "removed";
      if (found.member.role === MemberRole.VOTER) return "votes";
      say(progressOf(found, cluster));
    } catch (error) {
      if (!(error instanceof MusterError) || !isUnavailable(error)) throw error;
      say(`no answer (${error.label}); looking again`);
    }
    await clock.sleep(LOOK_MS);
  }
  return "timeout";
}

/** What a learner lacks to be a voter, as far as the leader's answer says. */
function progressOf(status: MemberStatus, cluster: GetClusterResponse): string {
  const { member, reachable, lagEntries, diskFull } = status;
  if (member?.started !== true) {
    return reachable === true ? "it is starting" : "it has not started: start it now";
  }
  if (reachable !== true) return "the leader is not in contact with it";
  if (diskFull === true) return "its disk is full";
  const behind = lagEntries ?? 0n;
  if (behind > 0n) return `its log is ${String(behind)} of ${String(cluster.commitIndex)} entries behind`;
  return "its log is complete; it votes when it has been in contact for two election timeouts";
}
