/**
 * Writers on a cluster. For every attempt a writer picks a random member, with a short deadline; it repeats failed writes
 * with the same request_id where that is safe. The outcome of every write is kept, to be compared with the logs.
 *
 * Most writers change admin URLs, each time to a value that was never used before; the others add, change and remove
 * members that never run. Some writes are attempted only once, so that the promise of their failure can be checked.
 */
import { Metadata, credentials, status } from "@grpc/grpc-js";
import type { CallOptions, ServiceError } from "@grpc/grpc-js";
import { MembershipServiceClient } from "../../../src/generated/muster/v1/membership_service";
import type { ResponseHeader } from "../../../src/client";
import { decodeDetails } from "../../../src/client/errors";
import { SeededRandom } from "../../../src/raft/index";

/** The outcome of a write as its writer knows it. */
export type WriteOutcome =
  | {
      readonly kind: "acknowledged";
      readonly revision: number;
      /** Begin and end of the last attempt, by performance.now(). */
      readonly startedMs: number;
      readonly endedMs: number;
    }
  /** The cluster refused the write finally. */
  | { readonly kind: "refused"; readonly reason: string }
  /** The writer gave up, and every attempt ended with the promise that nothing was appended. */
  | { readonly kind: "not-appended"; readonly reasons: readonly string[] }
  | { readonly kind: "unknown"; readonly reasons: readonly string[] };

export interface WriteRecord {
  readonly requestId: string;
  readonly what: string;
  readonly attempts: number;
  readonly outcome: WriteOutcome;
}

export interface LoadOptions {
  /** `host:port` of each member. */
  readonly endpoints: readonly string[];
  /** Names of members whose admin URLs are changed. */
  readonly targets: readonly string[];
  readonly seed: number;
  /** Number of concurrent writers. Raise it for more load, lower it on a slow machine. @default 32 */
  readonly writers?: number;
  /** How many of the writers add and remove members. More of them cost the cluster its quorum more often. @default 2 */
  readonly churners?: number;
  /** Longest pause of a writer between two writes, in milliseconds. Lower it for more load. @default 50 */
  readonly thinkMsMax?: number;
  /** Number of this load among several on one cluster, from 0, so that their values differ. @default 0 */
  readonly part?: number;
}

/** Reasons which promise that the attempt is in no log. */
const NOT_APPENDED = new Set([
  "NO_LEADER",
  "SERVER_STOPPING",
  "NOT_PROPOSED",
  "TOO_MANY_REQUESTS",
  "DISK_FULL",
]);
/** How long a write is repeated, in milliseconds. Longer than any recovery that the tests allow. */
const PERSISTENCE_MS = 20_000;

type Send = (
  client: MembershipServiceClient,
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, response: { header: ResponseHeader | undefined }) => void,
) => unknown;

interface Write {
  readonly requestId: string;
  readonly what: string;
  readonly send: Send;
  readonly deadlineMs: () => number;
  readonly once: boolean;
}

type Attempt =
  | { readonly kind: "acknowledged"; readonly revision: number }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "again"; readonly mayBeAppended: boolean; readonly reason: string };

export class Load {
  readonly records: WriteRecord[] = [];
  /** Failures that a cluster must never answer with. */
  readonly unexpected: string[] = [];
  private readonly clients: MembershipServiceClient[];
  private readonly writers: Promise<void>[] = [];
  private readonly random: SeededRandom;
  private stopping = false;

  constructor(private readonly options: LoadOptions) {
    this.random = new SeededRandom(options.seed);
    this.clients = options.endpoints.map(
      (endpoint) =>
        new MembershipServiceClient(endpoint, credentials.createInsecure(), {
          "grpc.use_local_subchannel_pool": 1,
          "grpc.enable_retries": 0,
          "grpc.initial_reconnect_backoff_ms": 50,
          "grpc.max_reconnect_backoff_ms": 500,
        }),
    );
  }

  start(): void {
    const { writers = 32, churners = 2 } = this.options;
    for (let i = 0; i < writers; i++)
      this.writers.push(i < churners ? this.churn(i) : this.changeAdminUrls(i));
  }

  /** Ends the load after every writer has finished its current write. */
  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.writers);
    for (const client of this.clients) client.close();
  }

  count(kind: WriteOutcome["kind"]): number {
    return this.records.filter(({ outcome }) => outcome.kind === kind).length;
  }

  /** When a write that began after `afterMs` was first acknowledged; null while none was. */
  firstAcknowledgedAfter(afterMs: number): number | null {
    const times = this.records.flatMap(({ outcome }) =>
      outcome.kind === "acknowledged" && outcome.startedMs > afterMs ? [outcome.endedMs] : [],
    );
    return times.length === 0 ? null : Math.min(...times);
  }

  // --- Writers ----------------------------------------------------------------------------------------------------

  private async changeAdminUrls(writer: number): Promise<void> {
    const { part = 0 } = this.options;
    for (let n = 0; !this.stopping; n++) {
      // A value that no other write uses, so that each change can be attributed to its write.
      const adminUrls = [`http://10.${writer}.${n >> 8}.${n & 255}:${7460 + part}`];
      const name = this.pick(this.options.targets);
      const requestId = `w${part}-${writer}-${n}`;
      const request = {
        id: "",
        name,
        adminUrls,
        requestId,
        expectedRevision: 0n,
        validateOnly: false,
        note: "",
      };
      await this.write({
        requestId,
        what: `admin URL of ${name}: ${adminUrls.join()}`,
        send: (client, ...rest) => client.updateAdminUrl(request, ...rest),
        deadlineMs: () => 100 + this.random.below(900),
        once: this.random.below(8) === 0,
      });
      await this.think();
    }
  }

  /** Adds, changes and removes a member that never runs. It is removed soon, because it makes the quorum larger. */
  private async churn(writer: number): Promise<void> {
    const common = { expectedRevision: 0n, validateOnly: false, note: "" };
    const deadlineMs = (): number => 500 + this.random.below(3000);
    for (let n = 0; !this.stopping; n++) {
      const name = `c${this.options.part ?? 0}-${writer}-${n}`;
      const [first, second] = [`http://127.0.0.${10 + writer}:9`, `http://127.0.0.${20 + writer}:9`];
      const id = (step: string): string => `${name}-${step}`;
      const step = (what: string, send: Send): Promise<WriteOutcome> =>
        this.write({ requestId: id(what), what: `${what} ${name}`, send, deadlineMs, once: false });
      const add = { name, peerUrl: first, adminUrl: "", requestId: id("add"), target: 0 as const, ...common };
      const added = await step("add", (client, ...rest) => client.addMember(add, ...rest));
      if (added.kind === "acknowledged" || added.kind === "unknown") {
        const update = { id: "", name, newPeerUrl: second, requestId: id("update"), ...common };
        await step("update", (client, ...rest) => client.updateMember(update, ...rest));
        const remove = { id: "", name, peerUrl: "", requestId: id("remove"), ...common };
        await step("remove", (client, ...rest) => client.deleteMember(remove, ...rest));
      }
      const againMs = performance.now() + 500 + this.random.below(2500);
      while (!this.stopping && performance.now() < againMs) await this.think();
    }
  }

  private think(): Promise<void> {
    const ms = this.random.below(this.options.thinkMsMax ?? 50);
    return new Promise((done) => setTimeout(done, ms));
  }

  private pick<T>(items: readonly T[]): T {
    const item = items[this.random.below(items.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }

  // --- One write --------------------------------------------------------------------------------------------------

  private async write(write: Write): Promise<WriteOutcome> {
    const giveUpMs = performance.now() + PERSISTENCE_MS;
    const reasons: string[] = [];
    let mayBeAppended = false;
    let attempts = 0;
    const ended = (outcome: WriteOutcome): WriteOutcome => {
      this.records.push({ requestId: write.requestId, what: write.what, attempts, outcome });
      return outcome;
    };
    do {
      const startedMs = performance.now();
      attempts += 1;
      const attempt = await this.attempt(write);
      if (attempt.kind === "acknowledged")
        return ended({ ...attempt, startedMs, endedMs: performance.now() });
      if (attempt.kind === "refused") return ended(attempt);
      mayBeAppended ||= attempt.mayBeAppended;
      reasons.push(attempt.reason);
      if (!write.once) await this.think();
    } while (!write.once && performance.now() < giveUpMs);
    return ended({ kind: mayBeAppended ? "unknown" : "not-appended", reasons });
  }

  private attempt({ send, deadlineMs, what }: Write): Promise<Attempt> {
    const deadline = Date.now() + deadlineMs();
    return new Promise((done) => {
      send(this.pick(this.clients), new Metadata(), { deadline }, (error, response) => {
        if (error === null) done({ kind: "acknowledged", revision: Number(response.header?.revision) });
        else done(this.judge(error, what));
      });
    });
  }

  private judge(error: ServiceError, what: string): Attempt {
    const { reason } = decodeDetails(error.metadata);
    if (reason === "OUTCOME_UNKNOWN") return { kind: "again", mayBeAppended: true, reason };
    if (reason !== undefined && NOT_APPENDED.has(reason))
      return { kind: "again", mayBeAppended: false, reason };
    if (reason !== undefined) {
      if (reason === "INTERNAL" || reason === "REQUEST_ID_REUSED")
        this.unexpected.push(`${what}: ${error.message}`);
      return { kind: "refused", reason };
    }
    // An error without details comes from the connection. When none was established, nothing was sent.
    const sent = !error.details.startsWith("No connection established");
    const transport = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED, status.INTERNAL];
    if (!transport.includes(error.code)) this.unexpected.push(`${what}: ${error.message}`);
    return {
      kind: "again",
      mayBeAppended: sent,
      reason: `${status[error.code]} (${sent ? "sent" : "not sent"})`,
    };
  }
}
