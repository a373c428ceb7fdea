/**
 * The unary calls between members: Publish and Hello. The streams of RaftService are in transport/raft_streams.ts.
 */
import { clusterMismatch } from "../cluster/peer_admission";
import { executePublish } from "../cluster/moved_address";
import { RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import type { HelloRequest, HelloResponse, PublishRequest } from "../generated/muster/raft/v1/raft_service";
import { RefusedError, checkPublish, refuseInvalid, refused } from "../roster/index";
import type { Handlers } from "../rpc/definition";
import { bootIdsProblem } from "../transport/handshake";
import type { Backend, ServiceOptions } from "./backend";

interface RaftServiceOptions extends ServiceOptions {
  /** This member's configured name. */
  readonly name: string;
  /** This member's configured peer URL, normalised. */
  readonly peerUrl: string;
  /** What this member waits for before it has a data directory. @default to join, while there is no backend */
  readonly waiting?: () => WaitingStart | null;
}

/** What a member without a data directory waits for: that a cluster adds it, or that the others form one with it. */
export type WaitingStart =
  { readonly for: "join" } | { readonly for: "form"; readonly clusterId: bigint; readonly memberId: bigint };

const JOINS = (): WaitingStart => ({ for: "join" });

const { publish, hello } = RaftServiceService;

/** The methods of RaftService that are unary calls. */
export const raftUnaryService = { publish, hello } as const;

const NO_BYTES = Buffer.alloc(0);

/** What a member says of itself whatever its state. */
type Configured = Pick<RaftServiceOptions, "name" | "peerUrl">;

function helloOfWaiting(self: Configured, waiting: WaitingStart | null): HelloResponse {
  const form = waiting?.for === "form" ? waiting : null;
  return {
    name: self.name,
    peerUrl: self.peerUrl,
    clusterId: form?.clusterId ?? 0n,
    memberId: form?.memberId ?? 0n,
    waitingToJoin: waiting?.for === "join",
    instanceId: NO_BYTES,
    waitingToForm: form !== null,
    metAnotherInstance: false,
  };
}

function helloOfMember(
  self: Configured,
  { replica, instances }: Backend,
  asker: HelloRequest,
): HelloResponse {
  const { clusterId, id: memberId } = replica;
  const isOfThisCluster = asker.clusterId === clusterId && asker.memberId !== 0n;
  return {
    name: self.name,
    peerUrl: self.peerUrl,
    clusterId,
    memberId,
    waitingToJoin: false,
    instanceId: Buffer.from(instances?.own ?? NO_BYTES),
    waitingToForm: false,
    metAnotherInstance: isOfThisCluster && instances?.metAnother(asker.memberId, asker.instanceId) === true,
  };
}

/** The handlers of raftUnaryService. Hello is answered also while this member waits to join. */
export function raftHandlers(options: RaftServiceOptions): Handlers<typeof raftUnaryService> {
  return {
    publish: async (request, call) => {
      const { replica, writes } = joined(options);
      return executePublish(valid(request, replica.clusterId), options, { replica, writes }, call);
    },
    hello: async (request) => {
      const backend = options.backend();
      const { waiting = JOINS } = options;
      return backend === null ? helloOfWaiting(options, waiting()) : helloOfMember(options, backend, request);
    },
  };
}

function joined({ backend }: RaftServiceOptions): Backend {
  const found = backend();
  if (found !== null) return found;
  throw refused("SERVER_STOPPING", "this member waits to join a cluster, and serves nothing yet");
}

/** The request in normal form. @throws RefusedError INVALID_REQUEST; RpcError CLUSTER_ID_MISMATCH */
function valid(received: PublishRequest, clusterId: bigint): PublishRequest {
  const checked = checkPublish(received);
  if (!checked.ok) throw new RefusedError(checked.refusal);
  const problem = bootIdsProblem(received.bootId, received.previousBootIds);
  if (problem !== null) throw new RefusedError(refuseInvalid([{ field: "boot_id", description: problem }]));
  if (received.clusterId !== clusterId) throw clusterMismatch(received.clusterId, clusterId);
  return checked.value;
}
