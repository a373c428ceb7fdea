/**
 * To whom the leader hands its leadership when a caller asks for it, and the refusals of such a call. Reads the view of
 * the leader, and changes nothing.
 */
import type { ReplicaView } from "../../replica/view";
import { RefusedError, formatId, refused, resolveMember } from "../../roster/index";
import type { MemberRecord, SelectorFields } from "../../roster/index";
import { bestSuccessor } from "./handover";

/**
 * The voter that is to lead. It is refused early when it can't be expected to take over: a transfer keeps writes waiting
 * until it ends.
 *
 * @param wanted null: the most advanced voter in contact
 * @throws RefusedError TRANSFER_FAILED, MEMBER_NOT_FOUND, MEMBER_REMOVED or MEMBER_MISMATCH
 */
export function transferTarget(replica: ReplicaView, wanted: SelectorFields | null): MemberRecord {
  const { roster } = replica;
  if (wanted === null) {
    const successor = bestSuccessor(replica);
    const found = successor === null ? null : roster.member(successor);
    if (found !== null) return found;
    throw failed("no other voter is in contact with the leader, which goes on leading: start another voter");
  }
  const found = resolveMember(roster, wanted);
  if (!found.ok) throw new RefusedError(found.refusal);
  const { member } = found;
  if (member.id === replica.id) return member;
  if (member.learner)
    throw transferFailed(member, "it is a learner, and only a voter can lead: name a voter");
  if (replica.contacts.inContactTicks(member.id, replica.ticks) === null) {
    throw transferFailed(member, "the leader is not in contact with it: start it, or check its peer URL");
  }
  return member;
}

/** @param why with what to do; follows the sentence that names the member */
export function transferFailed({ id, name }: MemberRecord, why: string): RefusedError {
  const text = `leadership was not transferred to ${name} (${formatId(id)}): ${why}`;
  return failed(text, { name, id: formatId(id) });
}

function failed(text: string, metadata: Readonly<Record<string, string>> = {}): RefusedError {
  return refused("TRANSFER_FAILED", text, metadata);
}
