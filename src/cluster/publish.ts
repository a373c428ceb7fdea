/**
 * Tells the cluster, after each start, who this member is: its instance id, admin URLs and version.
 *
 * Repeated until committed; a member counts as started from then on. What the configuration says wins over an earlier
 * UpdateAdminURL. A refusal as removed or wiped is final.
 */
import { OpenCall } from "../base/call";
import type { Clock } from "../base/clock";
import { Deadline } from "../base/deadline";
import type { Log } from "../base/log";
import { sha256 } from "../base/random";
import type { Random } from "../base/random";
import { PublishRequest, RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import type { PublishResponse } from "../generated/muster/raft/v1/raft_service";
import type { ReplicaView } from "../replica/view";
import { RefusedError, fingerprint, publishCommand } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { WriteRequest, Writes } from "./writes";

function publishFingerprint(request: PublishRequest): Uint8Array {
  const { requestId, memberId, adminUrls, version } = request;
  const instanceId = Buffer.from(request.instanceId).toString("hex");
  const fields = { memberId, instanceId, adminUrls, version };
  return fingerprint(sha256, "Publish", { ...fields, requestId, expectedRevision: 0, validateOnly: false });
}

/** Draws what a proposal needs, and tells the time. */
export interface CommandSource {
  readonly random: Random;
  /** Milliseconds since 1970. */
  readonly wallNow: () => number;
}

/** The write behind RaftService.Publish. */
export function publishWrite(
  request: PublishRequest,
  { random, wallNow }: CommandSource,
): WriteRequest<PublishResponse> {
  const { requestId, memberId: id, instanceId, adminUrls, version } = request;
  return {
    validateOnly: false,
    command: () =>
      publishCommand(
        {
          proposalId: random.u64(),
          timeMs: wallNow(),
          requestId,
          fingerprint: publishFingerprint(request),
        },
        { id, instanceId, adminUrls, version },
      ),
    forward: () => ({
      path: RaftServiceService.publish.path,
      body: PublishRequest.encode(request).finish(),
    }),
    answer: ({ revision }) => ({ revision }),
  };
}

/** What a member says about itself. */
export interface PublishedFacts {
  readonly adminUrl: string;
  readonly version: string;
  readonly instanceId: Uint8Array;
}

interface PublisherOptions extends CommandSource {
  readonly replica: ReplicaView;
  readonly writes: Writes;
  readonly clock: Clock;
  /** Decides how long one attempt may take (base/deadline.ts). */
  readonly electionMs: number;
  readonly facts: PublishedFacts;
  readonly log: Log;
  /** The cluster refused this member for good. */
  readonly onRefused: (reason: "MEMBER_WIPED" | "MEMBER_REMOVED", text: string) => void;
}

/** Between two attempts, in milliseconds: short beside an election, long beside an answer. */
const RETRY_MS = 500;

export class Publisher {
  private stopped = false;
  /** Ends the wait for the next attempt. */
  private endPause: () => void = () => undefined;

  constructor(private readonly options: PublisherOptions) {}

  /** Returns at once; goes on until the cluster has it, or stop(). */
  start(): void {
    void this.run();
  }

  /** No further attempt is made; one under way goes on. */
  stop(): void {
    this.stopped = true;
    this.endPause();
  }

  private async run(): Promise<void> {
    const { replica, log, facts } = this.options;
    while (!this.stopped) {
      if (replica.roster.member(replica.id) !== null && (await this.publish())) return;
      await this.pause();
    }
    log.debug({ admin_url: facts.adminUrl }, "stopped before it was published");
  }

  private pause(): Promise<void> {
    if (this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.options.clock.setTimeout(resolve, RETRY_MS);
      this.endPause = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** True when nothing is left to do. */
  private async publish(): Promise<boolean> {
    const { replica, writes, log, facts, clock, electionMs, random } = this.options;
    const known = replica.roster.member(replica.id);
    const replaced = known !== null && known.started && known.adminUrls.join() !== facts.adminUrl;
    const request: PublishRequest = {
      memberId: replica.id,
      instanceId: Buffer.from(facts.instanceId),
      adminUrls: [facts.adminUrl],
      version: facts.version,
      clusterId: replica.clusterId,
      // A call of its own each time: a forwarded one is repeated under this id, and apply remembers what became of it.
      requestId: `publish-${random.uuid()}`,
    };
    try {
      const call = new OpenCall({ method: "Publish", deadline: Deadline.of(clock, null, electionMs) });
      const answer = await writes.execute(publishWrite(request, this.options), call);
      const { revision } = Buffer.isBuffer(answer)
        ? RaftServiceService.publish.responseDeserialize(answer)
        : answer;
      const fields = { revision, admin_url: facts.adminUrl, term: replica.term, index: replica.applied };
      log.info(fields, "published");
      if (replaced) {
        const urls = { was: known.adminUrls.join(), now: facts.adminUrl };
        log.warn(urls, "the configured admin-url replaced the roster's");
      }
      return true;
    } catch (error) {
      return this.handleFailure(error);
    }
  }

  private handleFailure(error: unknown): boolean {
    const reason = reasonOf(error);
    const text = error instanceof Error ? error.message : String(error);
    if (reason === "MEMBER_WIPED" || reason === "MEMBER_REMOVED") {
      this.options.onRefused(reason, text);
      return true;
    }
    if (!this.stopped)
      this.options.log.info({ reason: reason ?? "", text }, "not published yet; trying again");
    return false;
  }
}

/** The contract's reason of whatever ended a call; null for one without. */
export function reasonOf(error: unknown): string | null {
  if (error instanceof RefusedError) return error.refusal.reason;
  return error instanceof RpcError ? error.reason : null;
}
