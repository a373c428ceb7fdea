/**
 * The load client, the same for every system: grpc-js calls with requests encoded in advance and responses that are not
 * decoded, so that the comparison is of the servers. Closed loop: each of N callers waits for its response before its
 * next call, so that latencies contain queueing in the server but no backlog in the client.
 */
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { build, type Histogram } from "hdr-histogram-js";

/** One kind of call. */
export interface Call {
  /** "/package.Service/Method" */
  readonly path: string;
  /** The encoded request with number `n`; numbers are unique in a run. */
  body(n: number): Buffer;
}

/** Result of one load run. */
export interface LoadResult {
  readonly callsPerSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  /** Milliseconds. */
  readonly p99: number;
  readonly errors: number;
  /** The message of the first error; null when no call failed. */
  readonly firstError: string | null;
}

/** Deadline of a single call, in milliseconds. */
const CALL_TIMEOUT_MS = 10_000;

const pass = (bytes: Buffer): Buffer => bytes;
const noMetadata = new Metadata();

/** A connection to one member. */
export class MemberClient {
  private readonly client: Client;

  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_http_proxy": 0,
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      // Short, so that the client reconnects soon after a member has started.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.min_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 100,
    });
  }

  /** One call. @throws ServiceError */
  call(path: string, body: Buffer, timeoutMs = CALL_TIMEOUT_MS): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + timeoutMs;
      const done = (error: ServiceError | null, answer?: Buffer): void =>
        error !== null ? reject(error) : resolve(answer ?? Buffer.alloc(0));
      this.client.makeUnaryRequest(path, pass, pass, body, noMetadata, { deadline }, done);
    });
  }

  close(): void {
    this.client.close();
  }
}

/** The next request number. Numbers are never reused in a run, so that every write changes something. */
let nextRequest = 0;

/** A request number that is unique in this run. */
export function requestNumber(): number {
  return nextRequest++;
}

function newHistogram(): Histogram {
  // Microseconds, up to one minute, three digits.
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });
}

/** Collects latencies in milliseconds, for percentiles. */
export class Recorder {
  private readonly histogram = newHistogram();
  private errors = 0;
  private firstError: string | null = null;

  record(latencyMs: number): void {
    this.histogram.recordValue(Math.max(1, Math.round(latencyMs * 1000)));
  }

  fail(error: unknown): void {
    this.errors += 1;
    this.firstError ??= error instanceof Error ? error.message : String(error);
  }

  result(elapsedMs: number): LoadResult {
    const { totalCount } = this.histogram;
    return {
      callsPerSecond: (totalCount * 1000) / elapsedMs,
      p50: this.histogram.getValueAtPercentile(50) / 1000,
      p99: this.histogram.getValueAtPercentile(99) / 1000,
      errors: this.errors,
      firstError: this.firstError,
    };
  }
}

/** Runs `once` in `inFlight` concurrent loops for `seconds`, after a warm-up that is not measured. */
export async function closedLoop(
  inFlight: number,
  seconds: number,
  warmUpSeconds: number,
  once: () => Promise<void>,
): Promise<LoadResult> {
  const startMs = performance.now() + warmUpSeconds * 1000;
  const endMs = startMs + seconds * 1000;
  const recorder = new Recorder();
  const caller = async (): Promise<void> => {
    for (let failuresInARow = 0; performance.now() < endMs && failuresInARow < 100;) {
      const sentMs = performance.now();
      try {
        await once();
        failuresInARow = 0;
        const nowMs = performance.now();
        if (nowMs >= startMs && nowMs < endMs) recorder.record(nowMs - sentMs);
      } catch (error) {
        failuresInARow += 1;
        recorder.fail(error);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  return recorder.result(seconds * 1000);
}

/**
 * Milliseconds until any member acknowledges a call that is sent after now. A new attempt is sent to each member every
 * 20 ms, whether or not earlier ones were answered, so that how long a server holds or refuses one attempt does not
 * change the result.
 * @throws when no member acknowledges one within the limit
 */
export async function timeToFirstAnswer(
  clients: readonly MemberClient[],
  call: Call,
  limitMs: number,
): Promise<number> {
  const startMs = performance.now();
  let answeredMs: number | null = null;
  let lastError = "no answer";
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const attempt = async (client: MemberClient): Promise<void> => {
    try {
      await client.call(call.path, call.body(requestNumber()), 5000);
      answeredMs ??= performance.now();
      finish();
    } catch (error) {
      lastError = error instanceof Error ? error.message : String(error);
    }
  };
  const attemptAll = (): void => {
    for (const client of clients) void attempt(client);
    if (performance.now() - startMs > limitMs) finish();
  };
  const timer = setInterval(attemptAll, 20);
  attemptAll();
  await finished;
  clearInterval(timer);
  if (answeredMs === null) throw new Error(`no acknowledged call within ${limitMs} ms: ${lastError}`);
  return answeredMs - startMs;
}
