/**
 * The small load that goes on while the random operator works: one writer and one reader, each at a random running member.
 * Their answers go into the history, which compares them.
 */
import { Consistency, MusterClient, MusterError } from "../../src/client";
import type { ResponseHeader } from "../../src/client";
import { SeededRandom } from "../../src/raft/index";
import type { WriteOutcome } from "../e2e/support/load";
import type { OperatedMember } from "./operator_member";
import type { OperatorHistory } from "./operator_history";

/** Pause between two calls, in milliseconds: 20 a second show a wrong answer without using up the machine. */
const THINK_MS = 50;
const WRITE_TIMEOUT_MS = 3000;
const READ_TIMEOUT_MS = 1500;

/** Reasons which promise that no log has the write. */
const NOT_APPENDED = new Set([
  "NO_LEADER",
  "SERVER_STOPPING",
  "NOT_PROPOSED",
  "TOO_MANY_REQUESTS",
  "DISK_FULL",
]);

interface LoadParts {
  readonly history: OperatorHistory;
  /** Everything that answers, copies and removed members too. */
  readonly running: () => readonly OperatedMember[];
  /** Members of the roster whose admin URLs may be written. */
  readonly targets: () => readonly string[];
  readonly clusterId: () => string;
}

/** The part of an answer that every write has. */
export interface Answer {
  readonly header?: ResponseHeader | undefined;
}

export class OperatorLoad {
  private readonly random: SeededRandom;
  private stopping = false;
  private paused = false;
  private busy = 0;
  private count = 0;
  private readonly loops: Promise<void>[] = [];

  constructor(
    seed: number,
    private readonly parts: LoadParts,
  ) {
    this.random = new SeededRandom(seed);
  }

  start(): void {
    this.loops.push(
      this.loop(() => this.write()),
      this.loop(() => this.read()),
    );
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.loops);
  }

  /** Runs something while the load makes no calls. */
  async without<T>(run: () => Promise<T>): Promise<T> {
    this.paused = true;
    try {
      while (this.busy > 0) await think();
      return await run();
    } finally {
      this.paused = false;
    }
  }

  private async loop(run: () => Promise<unknown>): Promise<void> {
    while (!this.stopping) {
      if (!this.paused) {
        this.busy++;
        try {
          await run();
        } finally {
          this.busy--;
        }
      }
      await think();
    }
  }

  /** One write that changes admin URLs to a value that no other write uses. True when it was acknowledged. */
  async write(at: OperatedMember | undefined = this.pick(this.parts.running()), bulk = 0): Promise<boolean> {
    const { targets, clusterId } = this.parts;
    const name = this.pick(targets());
    if (at === undefined || name === undefined || clusterId() === "") return false;
    const n = ++this.count;
    const label = "x".repeat(60);
    const first = `http://10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}:1`;
    const more = Array.from({ length: bulk }, (_, i) => `http://${label}.${label}.${label}.w${n}-${i}:1`);
    const requestId = `load-${n}`;
    const request = { name, adminUrls: [first, ...more], requestId };
    const call = at.client.updateAdminUrl(request, { timeoutMs: WRITE_TIMEOUT_MS });
    const outcome = await this.record(at.name, requestId, `admin URL of ${name}`, call);
    return outcome.kind === "acknowledged";
  }

  /**
   * Waits for a write's answer and records it.
   * @param changes false when it may be acknowledged without an entry of its own, since nothing was left to change
   */
  async record(
    by: string,
    requestId: string,
    what: string,
    call: Promise<Answer>,
    changes = true,
  ): Promise<WriteOutcome> {
    const { history } = this.parts;
    const startedMs = performance.now();
    let clusterId = this.parts.clusterId();
    let outcome: WriteOutcome;
    try {
      const { header } = await call;
      if (header === undefined) throw new Error(`${requestId}: an answer without a header`);
      clusterId = header.clusterId;
      history.heard(by, header);
      const revision = Number(header.revision);
      outcome = { kind: "acknowledged", revision, startedMs, endedMs: performance.now() };
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
      outcome = failed(error);
    }
    if (changes || outcome.kind !== "acknowledged")
      history.wrote(clusterId, { requestId, what, attempts: 1, outcome });
    return outcome;
  }

  /** One linearizable read at a random member, copies included. */
  private async read(): Promise<void> {
    const at = this.pick(this.parts.running());
    if (at !== undefined) await this.readAt(at);
  }

  private async readAt(at: OperatedMember): Promise<void> {
    const { history, clusterId } = this.parts;
    const [cluster, floor] = [clusterId(), history.floor(clusterId())];
    const by = `${at.name} (${at.endpoint})`;
    try {
      const options = { timeoutMs: READ_TIMEOUT_MS };
      const { header, members } = await at.client.getMembers(
        { consistency: Consistency.LINEARIZABLE },
        options,
      );
      if (header === undefined) return;
      history.heard(by, header);
      history.listed(by, header, members);
      if (header.clusterId === cluster) history.readLinearizable(by, header, floor);
      const local = await at.client.getMembers({ consistency: Consistency.SERIALIZABLE }, options);
      if (local.header === undefined) return;
      history.heard(by, local.header);
      history.listed(by, local.header, local.members);
    } catch (error) {
      if (!(error instanceof MusterError)) throw error;
    }
  }

  private pick<T>(from: readonly T[]): T | undefined {
    return from.length === 0 ? undefined : from[this.random.below(from.length)];
  }
}

function failed(error: MusterError): WriteOutcome {
  const { label, reason, sent } = error;
  if (reason === undefined) {
    return sent ? { kind: "unknown", reasons: [label] } : { kind: "not-appended", reasons: [label] };
  }
  if (NOT_APPENDED.has(reason)) return { kind: "not-appended", reasons: [label] };
  if (reason === "OUTCOME_UNKNOWN") return { kind: "unknown", reasons: [label] };
  return { kind: "refused", reason: label };
}

/** A client of several members, for one call of the operator. */
export function clientOf(members: readonly OperatedMember[], timeoutMs: number): MusterClient {
  const endpoints = members.map(({ endpoint }) => endpoint);
  return new MusterClient({ endpoints, timeoutMs, waitForConnection: false, followRoster: false });
}

/** Lets a moment pass; the load has no condition to wait for. */
function think(): Promise<void> {
  return new Promise((done) => setTimeout(done, THINK_MS));
}
