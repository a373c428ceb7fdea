/**
 * A publish as the leader completes it: first the publish itself, then, where the member is reached elsewhere than the
 * roster says, the change of its peer URL, as if an operator had asked for it.
 */
import type { Call } from "../base/call";
import { sha256 } from "../base/random";
import type { PublishRequest, PublishResponse } from "../generated/muster/raft/v1/raft_service";
import {
  MembershipServiceService,
  UpdateMemberRequest,
  UpdateMemberResponse,
} from "../generated/muster/v1/membership_service";
import type { ReplicaView } from "../replica/view";
import type { MemberRecord } from "../roster/index";
import {
  PUBLISHED_BY,
  RefusedError,
  checkUpdateMember,
  fingerprint,
  formatId,
  refused,
  updateMemberCommand,
} from "../roster/index";
import { publishWrite } from "./publish";
import type { CommandSource } from "./publish";
import type { WriteRequest, Writes } from "./writes";

interface PublishTo {
  readonly replica: ReplicaView;
  readonly writes: Pick<Writes, "execute">;
  /** Whether this member drew the request id; see WriteRequest. @default false: it came with a call */
  readonly drewRequestId?: boolean;
}

/**
 * Publishes, and lets the roster follow the member's peer URL. A URL that belongs to another member now is refused: the
 * publisher tries again until it is free. So is a publish after which the member was changed already.
 *
 * @returns the revision, or the answer of the member that leads, which has done both
 * @throws RefusedError, RpcError, CallCancelledError
 */
export async function executePublish(
  request: PublishRequest,
  source: CommandSource,
  { replica, writes, drewRequestId = false }: PublishTo,
  call: Call,
): Promise<PublishResponse | Buffer> {
  const answer = await writes.execute({ ...publishWrite(request, source), drewRequestId }, call);
  if (Buffer.isBuffer(answer) || request.peerUrl === "") return answer;
  const known = replica.roster.member(request.memberId);
  if (known === null || known.peerUrls.includes(request.peerUrl)) return answer;
  // A request that is late, or comes again, gets its first answer: it must not undo what was asked for since.
  if (known.updateRevision > answer.revision) throw changedSince(known, answer.revision);
  const moved = await writes.execute(moveWrite(request, source), call);
  if (!Buffer.isBuffer(moved)) return moved;
  return { revision: Number(UpdateMemberResponse.decode(moved).header?.revision ?? 0n) };
}

/** A publisher that still needs the change publishes again. */
function changedSince({ name, updateRevision }: MemberRecord, published: number): RefusedError {
  const metadata = { revision: String(updateRevision), expected_revision: String(published) };
  const text =
    `member ${name} was changed at revision ${metadata.revision}, after this publish had taken effect at revision ` +
    `${metadata.expected_revision}; its peer URL stays as it is: publish again`;
  return refused("REVISION_MISMATCH", text, metadata);
}

function moveWrite(
  { memberId, peerUrl }: PublishRequest,
  { random, wallNow }: CommandSource,
): WriteRequest<PublishResponse> {
  const request: UpdateMemberRequest = {
    id: formatId(memberId),
    name: "",
    newPeerUrl: peerUrl,
    requestId: `move-${random.uuid()}`,
    expectedRevision: 0n,
    validateOnly: false,
    note: "",
  };
  const checked = checkUpdateMember(request);
  if (!checked.ok) throw new RefusedError(checked.refusal);
  const fields = checked.value;
  const { requestId } = request;
  return {
    validateOnly: false,
    drewRequestId: true,
    command: () => {
      const hash = fingerprint(sha256, "UpdateMember", fields);
      const by = { timeMs: wallNow(), caller: PUBLISHED_BY };
      const head = { proposalId: random.u64(), requestId, fingerprint: hash, ...by };
      return updateMemberCommand(head, fields);
    },
    forward: () => ({
      path: MembershipServiceService.updateMember.path,
      body: UpdateMemberRequest.encode(request).finish(),
    }),
    answer: ({ revision }) => ({ revision }),
  };
}
