/**
 * One watch that outlives the members: goes on at the next endpoint, from the last revision that it has, when the
 * connection or the member is lost. For the command; not part of the package's interface.
 */
import { status } from "@grpc/grpc-js";
import { MembershipServiceService } from "../generated/muster/v1/membership_service";
import type { WatchMembersRequest, WatchMembersResponse } from "../generated/muster/v1/membership_service";
import type { Channel } from "./attempt";
import { EndpointChannel } from "./channel";
import type { Clock } from "./clock";
import { parseEndpoints } from "./endpoints";
import { MusterError } from "./errors";
import { isRepeatable, pauseMs } from "./retry";

interface WatchCallOptions {
  /** host:port or URLs, as the client takes them. */
  readonly endpoints: readonly string[];
  readonly request: WatchMembersRequest;
  /** Ends the watch, without an error. */
  readonly signal: AbortSignal;
  /** Measures the pauses between attempts. */
  readonly clock: Clock;
  /** Called when a watch that had a message is lost, before it goes on elsewhere. */
  readonly onLost: (error: MusterError) => void;
  /** Called with the endpoint of the first message after that. */
  readonly onResumed: (endpoint: string) => void;
}

/**
 * Yields each message until the signal is aborted.
 *
 * @throws MusterError when the watch is refused, and when none of the endpoints could be watched at the beginning
 */
export async function* watchCall(options: WatchCallOptions): AsyncGenerator<WatchMembersResponse> {
  const channels = parseEndpoints(options.endpoints).map(
    (endpoint) => new EndpointChannel(endpoint, undefined, undefined),
  );
  try {
    yield* watchOver(channels, options);
  } finally {
    for (const channel of channels) channel.close();
  }
}

async function* watchOver(
  channels: readonly Channel[],
  { request, signal, clock, onLost, onResumed }: WatchCallOptions,
): AsyncGenerator<WatchMembersResponse> {
  let from = request.startRevision;
  let failures = 0;
  let hadMessage = false;
  for (let at = 0; !isAborted(signal); at++) {
    const channel = channels[at % channels.length];
    if (channel === undefined) return;
    // The server has no deadline for a watch, and neither has this side.
    const attempt = { timeoutMs: Infinity, requestId: undefined, number: 1, signal };
    const { watchMembers } = MembershipServiceService;
    let error: MusterError;
    try {
      const messages = channel.serverStream(watchMembers, { ...request, startRevision: from }, attempt);
      for await (const message of messages) {
        if (failures > 0 && hadMessage) onResumed(channel.authority);
        failures = 0;
        hadMessage = true;
        from = message.header?.revision ?? from;
        yield message;
      }
      error = ended(channel.authority);
    } catch (thrown) {
      if (isAborted(signal)) return;
      if (!(thrown instanceof MusterError) || !isRepeatable(thrown)) throw thrown;
      error = thrown;
    }
    if (hadMessage && failures === 0) onLost(error);
    failures++;
    if (!hadMessage && failures >= channels.length) throw error;
    await clock.sleep(pauseMs(error, failures, channels.length, Math.random()), signal);
  }
}

/** Read anew each time: it changes while the loop waits. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** A member never ends a watch without an error; a proxy may. */
function ended(endpoint: string): MusterError {
  const message = `${endpoint}: the stream ended`;
  return new MusterError({ code: status.UNAVAILABLE, message, endpoint });
}
