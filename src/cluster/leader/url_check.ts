/**
 * Whether the member that a change means answers at the change's peer URL. Pure; the leader asks Hello before.
 *
 * A name alone proves nothing: two URLs of one machine may lead to one process that is configured with only one of them,
 * and a data directory that was lost leaves a member with the name and the id of the old one.
 */
import type { NodeId } from "../../raft/index";
import { formatId, normaliseUrl, sameBytes, validateName } from "../../roster/index";
import type { MemberRecord } from "../../roster/index";

/** What a process says of itself (RaftService.Hello). */
export interface Hello {
  readonly name: string;
  readonly clusterId: bigint;
  readonly memberId: NodeId;
  readonly waitingToJoin: boolean;
  readonly instanceId: Uint8Array;
  readonly peerUrl: string;
}

/** What an unknown process said, so that it can be shown: names and URLs of another form are left out. */
export function readHello(hello: Hello): Hello {
  const peerUrl = normaliseUrl(hello.peerUrl);
  return {
    ...hello,
    name: validateName(hello.name) === null ? hello.name : "(without a valid name)",
    peerUrl: peerUrl.ok ? peerUrl.url : "",
  };
}

/** The answer at a URL; "nobody" also where what answers is no member. */
export type UrlAnswer = Hello | "nobody";

/** What is wrong with a joiner that should wait at `peerUrl`, worded as a sentence's part; null when it waits there. */
export function joinerProblem(answer: UrlAnswer, name: string, peerUrl: string): string | null {
  if (answer === "nobody") return `nobody answers at ${peerUrl}`;
  if (!answer.waitingToJoin) return `${memberNamed(answer)} answers at ${peerUrl}, and does not wait to join`;
  if (answer.name !== name) return `a member named ${answer.name} waits to join at ${peerUrl}, not ${name}`;
  if (answer.peerUrl === peerUrl) return null;
  if (answer.peerUrl === "")
    return `${name} answers at ${peerUrl}, but its version does not say its own peer URL`;
  return `${name} answers at ${peerUrl}, but its configuration says ${answer.peerUrl}, and it would not join at another URL`;
}

/** What keeps `peerUrl` from being the URL of this member; null when this very member answers there. */
export function memberProblem(
  answer: UrlAnswer,
  member: MemberRecord,
  peerUrl: string,
  clusterId: bigint,
): string | null {
  if (answer === "nobody") return `nobody answers at ${peerUrl}`;
  if (answer.waitingToJoin) {
    // One that never started has no id yet: it takes the one that the roster gives to its name and URL.
    if (!member.started) return joinerProblem(answer, member.name, peerUrl);
    return `a member without a data directory answers at ${peerUrl}`;
  }
  if (answer.clusterId !== clusterId) return `a member of another cluster answers at ${peerUrl}`;
  if (answer.memberId !== member.id) return `${memberNamed(answer)} answers at ${peerUrl}`;
  if (!member.started || sameBytes(answer.instanceId, member.instanceId)) return null;
  if (answer.instanceId.length === 0)
    return `${member.name} answers at ${peerUrl}, but its version does not say which data directory it has`;
  return `${member.name} answers at ${peerUrl} with another data directory than it started with`;
}

function memberNamed({ name, memberId }: Hello): string {
  return `another member, ${name} (${formatId(memberId)}),`;
}
