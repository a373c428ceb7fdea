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
import {
  PUBLISHED_BY,
  RefusedError,
  checkUpdateMember,
  fingerprint,
  formatId,
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
 * publisher tries again until it is free.
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
  const moved = await writes.execute(moveWrite(request, source), call);
  if (!Buffer.isBuffer(moved)) return moved;
  return { revision: Number(UpdateMemberResponse.decode(moved).header?.revision ?? 0n) };
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
