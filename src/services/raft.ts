/**
 * The unary calls between members: Publish and Hello. The streams of RaftService are in transport/raft_streams.ts.
 */
import { INSTANCE_ID_BYTES } from "../base/random";
import { clusterMismatch } from "../cluster/peer_admission";
import { publishWrite } from "../cluster/publish";
import { RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import type { PublishRequest } from "../generated/muster/raft/v1/raft_service";
import { RefusedError, normaliseUrl, refuseInvalid, refused, validateRequestId } from "../roster/index";
import type { FieldViolation } from "../roster/index";
import type { Handlers } from "../rpc/definition";
import type { Backend, ServiceOptions } from "./backend";

interface RaftServiceOptions extends ServiceOptions {
  /** This member's configured name. */
  readonly name: string;
}

const { publish, hello } = RaftServiceService;

/** The methods of RaftService that are unary calls. */
export const raftUnaryService = { publish, hello } as const;

/** Longest version that a member may publish, in characters. */
const VERSION_LENGTH_MAX = 64;

/** The handlers of raftUnaryService. Hello is answered also while this member waits to join. */
export function raftHandlers(options: RaftServiceOptions): Handlers<typeof raftUnaryService> {
  return {
    publish: async (request, call) => {
      const { replica, writes } = joined(options);
      checkPublish(request, replica.clusterId);
      return writes.execute(publishWrite(request, options), call);
    },
    hello: async () => {
      const replica = options.backend()?.replica;
      return {
        name: options.name,
        clusterId: replica?.clusterId ?? 0n,
        memberId: replica?.id ?? 0n,
        waitingToJoin: replica === undefined,
      };
    },
  };
}

function joined({ backend }: RaftServiceOptions): Backend {
  const found = backend();
  if (found !== null) return found;
  throw refused("SERVER_STOPPING", "this member waits to join a cluster, and serves nothing yet");
}

/** @throws RefusedError INVALID_REQUEST; RpcError CLUSTER_ID_MISMATCH */
function checkPublish(request: PublishRequest, clusterId: bigint): void {
  const violations: FieldViolation[] = [];
  if (request.instanceId.length !== INSTANCE_ID_BYTES) {
    violations.push({ field: "instance_id", description: `must have ${String(INSTANCE_ID_BYTES)} bytes` });
  }
  if (request.version === "" || request.version.length > VERSION_LENGTH_MAX) {
    const description = `must have 1 to ${String(VERSION_LENGTH_MAX)} characters`;
    violations.push({ field: "version", description });
  }
  const idProblem = request.requestId === "" ? "required" : validateRequestId(request.requestId);
  if (idProblem !== null) violations.push({ field: "request_id", description: idProblem });
  for (const [i, url] of request.adminUrls.entries()) {
    const result = normaliseUrl(url);
    if (!result.ok) violations.push({ field: `admin_urls[${String(i)}]`, description: result.problem });
  }
  if (violations.length > 0) throw new RefusedError(refuseInvalid(violations));
  if (request.clusterId !== clusterId) throw clusterMismatch(request.clusterId, clusterId);
}
