/** One-off questions to members of a cluster that this process may not have joined. No reply is null. */
import { HelloRequest, HelloResponse, RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import {
  Consistency,
  GetMembersRequest,
  GetMembersResponse,
  MembershipServiceService,
} from "../generated/muster/v1/membership_service";
import type { PeerCalls, PeerRequest } from "../transport/peer_calls";

/** How long one question may take, in milliseconds. */
const ASK_MS = 1000;

type Ask = Pick<PeerCalls, "ask">;

/** A roster as one member has it; it may be old. */
export type ListedMembers = GetMembersResponse;

/** The roster as the member at `url` has it. */
export function askMembers(peers: Ask, url: string): Promise<ListedMembers | null> {
  const { path } = MembershipServiceService.getMembers;
  const body = GetMembersRequest.encode({ consistency: Consistency.SERIALIZABLE }).finish();
  return ask(peers, url, { path, body }, (bytes) => GetMembersResponse.decode(bytes));
}

/** Who asks, for the member that answers; zeros and no bytes: not told. */
type Asker = HelloRequest;

const NOBODY: Asker = { clusterId: 0n, memberId: 0n, instanceId: Buffer.alloc(0) };

/** Which member listens at `url`. @param asker who asks; by default it is not told */
export function askHello(peers: Ask, url: string, asker: Asker = NOBODY): Promise<HelloResponse | null> {
  const { path } = RaftServiceService.hello;
  const body = HelloRequest.encode(asker).finish();
  return ask(peers, url, { path, body }, (bytes) => HelloResponse.decode(bytes));
}

/** A URL that can't be dialled, and bytes that are no such message, are no reply. */
async function ask<T>(
  peers: Ask,
  url: string,
  request: PeerRequest,
  decode: (bytes: Uint8Array) => T,
): Promise<T | null> {
  try {
    const answer = await peers.ask(url, request, ASK_MS);
    return answer === null ? null : decode(answer);
  } catch {
    return null;
  }
}
