/**
 * Tells the cluster, after each start, who this member is: its instance id, boot id, admin URLs and version.
 *
 * Repeated until committed; a member counts as started from then on. What the configuration says wins over an earlier
 * UpdateAdminURL. A refusal as removed, wiped or rolled back is the word of the member that led (verdicts.ts).
 */
import { OpenCall } from "../base/call";
import type { Call } from "../base/call";
import type { Clock } from "../base/clock";
import { Deadline } from "../base/deadline";
import type { Log } from "../base/log";
import { sha256 } from "../base/random";
import type { Random } from "../base/random";
import { PublishRequest, RaftServiceService } from "../generated/muster/raft/v1/raft_service";
import type { PublishResponse } from "../generated/muster/raft/v1/raft_service";
import type { NodeId } from "../raft/index";
import type { ReplicaView } from "../replica/view";
import { RefusedError, fingerprint, publishCommand } from "../roster/index";
import { RpcError } from "../rpc/rpc_error";
import type { BootClaim } from "./boots";
import { isVerdict } from "./verdicts";
import type { VerdictReason } from "./verdicts";
import type { WriteRequest } from "./writes";

function publishFingerprint(request: PublishRequest): Uint8Array {
  const { requestId, memberId, adminUrls, version } = request;
  const instanceId = Buffer.from(request.instanceId).toString("hex");
  const fields = { memberId, instanceId, adminUrls, version };
  return fingerprint(sha256, "Publish", {
    ...fields,
    requestId,
    expectedRevision: 0,
    validateOnly: false,
    note: "",
  });
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
  const { requestId, memberId: id, instanceId, adminUrls, version, bootId, previousBootIds } = request;
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
        { id, instanceId, adminUrls, version, bootId, previousBootIds },
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
  /** Where peers reach it, as it is configured; in normal form. @default not told */
  readonly peerUrl?: string;
}

interface PublisherOptions extends CommandSource {
  readonly replica: ReplicaView;
  /** Carries a publish out, here or at the leader (moved_address.ts). */
  readonly execute: (request: PublishRequest, call: Call) => Promise<PublishResponse | Buffer>;
  readonly clock: Clock;
  /** Decides how long one attempt may take (base/deadline.ts). */
  readonly electionMs: number;
  readonly facts: PublishedFacts;
  /** The boot ids of this start and of those before. */
  readonly claim: () => BootClaim;
  readonly log: Log;
  /**
   * The member that led refused this one. Only one peer's word: publishing goes on, at a slower pace. A refusal in this
   * member's own apply does not come here, since its roster then says the same.
   */
  readonly onVerdict: (by: NodeId, reason: VerdictReason, text: string) => void;
}

/** Between two attempts, in milliseconds: short beside an election, long beside an answer. */
const RETRY_MS = 500;
/** The same after a refusal that more attempts will not change soon. */
const VERDICT_RETRY_MS = 10_000;

export class Publisher {
  private stopped = false;
  private pauseMs = RETRY_MS;
  private saidMoved = false;
  /** The last failure that was logged: the same one again is logged at debug level. */
  private saidFailure = "";
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
      this.pauseMs = RETRY_MS;
      this.noticeMoved();
      if (replica.roster.member(replica.id) !== null && (await this.publish())) return;
      await this.pause();
    }
    log.debug({ admin_url: facts.adminUrl }, "stopped before it was published");
  }

  /** The configured peer URL wins over the roster's, which is said once the roster is as new as this member's log. */
  private noticeMoved(): void {
    const { replica, log, facts } = this.options;
    const known = replica.roster.member(replica.id);
    const { peerUrl } = facts;
    if (this.saidMoved || known === null || peerUrl === undefined || replica.applied < replica.committed)
      return;
    this.saidMoved = true;
    if (known.peerUrls.includes(peerUrl)) return;
    const urls = { configured: peerUrl, roster: known.peerUrls.join() };
    log.warn(urls, "the roster has another peer URL for this member: the configured one replaces it");
  }

  private pause(): Promise<void> {
    if (this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.options.clock.setTimeout(resolve, this.pauseMs);
      this.endPause = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** True when nothing is left to do. */
  private async publish(): Promise<boolean> {
    const { replica, log, facts, clock, electionMs, random } = this.options;
    const { bootId, previousBootIds } = this.options.claim();
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
      peerUrl: facts.peerUrl ?? "",
      bootId: Buffer.from(bootId),
      previousBootIds: previousBootIds.map((boot) => Buffer.from(boot)),
    };
    const { leader } = replica;
    try {
      const call = new OpenCall({ method: "Publish", deadline: Deadline.of(clock, null, electionMs) });
      const answer = await this.options.execute(request, call);
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
      this.handleFailure(leader, error);
      return false;
    }
  }

  /** @param leader at the begin of the attempt */
  private handleFailure(leader: NodeId, error: unknown): void {
    const { replica, onVerdict, log } = this.options;
    const reason = reasonOf(error);
    const text = error instanceof Error ? error.message : String(error);
    if (this.stopped) return;
    if (!isVerdict(reason)) {
      const level = text === this.saidFailure ? "debug" : "info";
      log[level]({ reason: reason ?? "", text }, "not published yet; trying again");
      this.saidFailure = text;
      return;
    }
    this.pauseMs = VERDICT_RETRY_MS;
    // Another leader meanwhile: it is not known which of them answered.
    if (leader === replica.leader) onVerdict(leader, reason, text);
  }
}

/** The contract's reason of whatever ended a call; null for one without. */
export function reasonOf(error: unknown): string | null {
  if (error instanceof RefusedError) return error.refusal.reason;
  return error instanceof RpcError ? error.reason : null;
}
