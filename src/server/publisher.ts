/**
 * Tells the cluster, after each start, who this member is: its instance id, admin URLs and version.
 *
 * Repeated until committed; a member counts as started from then on. What the configuration says wins over an earlier
 * UpdateAdminURL. A refusal as removed or wiped is final. SPEC section 2, "Publish".
 */
import { randomUUID } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import type { PublishRequest, PublishResponse } from "../generated/muster/raft/v1/raft_service";
import { fingerprint, publishCommand } from "../roster/index";
import type { Reason } from "../roster/index";
import type { Clock } from "../base/clock";
import type { CallContext } from "./call";
import { Deadline } from "../base/deadline";
import { RefusedError } from "./errors";
import { PassedOnError } from "./forwarder";
import { newProposalId, sha256 } from "../base/random";
import type { Logger } from "./logger";
import type { Node } from "./node";
import type { WriteRequest, Writes } from "./writes";

function publishFingerprint({
  requestId,
  memberId,
  instanceId,
  adminUrls,
  version,
}: PublishRequest): Uint8Array {
  const fields = { memberId, instanceId: Buffer.from(instanceId).toString("hex"), adminUrls, version };
  return fingerprint(sha256, "Publish", { ...fields, requestId, expectedRevision: 0, validateOnly: false });
}

/** The write behind RaftService.Publish. */
export function publishWrite(request: PublishRequest, wallNow: () => number): WriteRequest<PublishResponse> {
  return {
    isConfChange: false,
    validateOnly: false,
    command: () =>
      publishCommand(
        {
          proposalId: newProposalId(),
          timeMs: wallNow(),
          requestId: request.requestId,
          fingerprint: publishFingerprint(request),
        },
        {
          id: request.memberId,
          instanceId: request.instanceId,
          adminUrls: request.adminUrls,
          version: request.version,
        },
      ),
    forward: (stubs, metadata, options, done) => stubs.raft.publish(request, metadata, options, done),
    answer: ({ revision }) => ({ revision }),
  };
}

export interface PublisherOptions {
  readonly node: Node;
  readonly writes: Writes;
  readonly clock: Clock;
  readonly wallNow: () => number;
  readonly electionMs: number;
  readonly adminUrl: string;
  readonly version: string;
  readonly instanceId: Uint8Array;
  readonly log: Logger;
  /** The cluster refused this member for good. */
  readonly onRefused: (reason: Reason, text: string) => void;
}

const RETRY_MS = 500;

export class Publisher {
  private stopped = false;

  constructor(private readonly options: PublisherOptions) {}

  /** Returns at once; goes on until the cluster has it, or stop(). */
  start(): void {
    void this.run();
  }

  stop(): void {
    this.stopped = true;
  }

  private async run(): Promise<void> {
    const { node, log, clock, adminUrl } = this.options;
    while (!this.stopped) {
      if (node.roster.member(node.id) !== null && (await this.publish())) return;
      await new Promise<void>((resolve) => clock.setTimeout(resolve, RETRY_MS));
    }
    log.debug({ admin_url: adminUrl }, "stopped before it was published");
  }

  /** True when nothing is left to do. */
  private async publish(): Promise<boolean> {
    const { node, writes, log, adminUrl, version, instanceId, clock, electionMs, wallNow } = this.options;
    const known = node.roster.member(node.id);
    const replaced = known !== null && known.started && known.adminUrls.join() !== adminUrl;
    const request: PublishRequest = {
      memberId: node.id,
      instanceId: Buffer.from(instanceId),
      adminUrls: [adminUrl],
      version,
      clusterId: node.clusterId,
      // A call of its own each time: the forwarder repeats it under this id, and apply remembers what became of it.
      requestId: `publish-${randomUUID()}`,
    };
    try {
      const context = ownCall(Deadline.of(clock, null, electionMs));
      const { revision } = await writes.execute(publishWrite(request, wallNow), context);
      log.info({ revision, admin_url: adminUrl, term: node.term, index: node.applied }, "published");
      if (replaced) {
        log.warn(
          { was: known.adminUrls.join(), now: adminUrl },
          "the configured admin-url replaced the roster's",
        );
      }
      return true;
    } catch (error) {
      return this.handleFailure(error);
    }
  }

  private handleFailure(error: unknown): boolean {
    const { log, onRefused } = this.options;
    const reason =
      error instanceof RefusedError
        ? error.refusal.reason
        : error instanceof PassedOnError
          ? error.reason
          : null;
    const text = error instanceof Error ? error.message : String(error);
    if (reason === "MEMBER_WIPED" || reason === "MEMBER_REMOVED") {
      onRefused(reason, text);
      return true;
    }
    if (!this.stopped) log.info({ reason: reason ?? "", text }, "not published yet; trying again");
    return false;
  }
}

/** A call that this member makes for itself. */
function ownCall(deadline: Deadline): CallContext {
  return {
    rpc: "Publish",
    deadline,
    metadata: new Metadata(),
    mayForward: true,
    cancelled: false,
    onCancel: () => undefined,
  };
}
