/**
 * One watch for the command: the messages as they came, and a word when a stream was lost and when another one goes on.
 * Ends where the client's own watch begins anew with the roster (REVISION_COMPACTED). Not part of the package's interface.
 */
import { MembershipServiceService } from "../generated/muster/v1/membership_service";
import type {
  MemberEvent,
  WatchMembersRequest,
  WatchMembersResponse,
} from "../generated/muster/v1/membership_service";
import { Caller } from "./caller";
import type { StreamVerdict } from "./caller";
import { EndpointChannel } from "./channel";
import { systemClock } from "./clock";
import type { Clock } from "./clock";
import { parseEndpoints } from "./endpoints";
import type { MusterError } from "./errors";
import { WatchCursor } from "./watch";

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
  const { endpoints, signal, clock } = options;
  const caller = new Caller({
    channels: parseEndpoints(endpoints).map(
      (endpoint) => new EndpointChannel(endpoint, undefined, undefined),
    ),
    clock,
    attemptClock: systemClock,
    random: Math.random,
    waitForConnection: false,
  });
  try {
    yield* messages(caller, options);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    caller.close();
  }
}

function messages(
  caller: Caller,
  { request, signal, onLost, onResumed }: WatchCallOptions,
): AsyncGenerator<WatchMembersResponse, void, undefined> {
  const { startRevision, ...extras } = request;
  const cursor = new WatchCursor(startRevision, extras);
  let state: "new" | "open" | "lost" = "new";
  return caller.stream({
    signal,
    judge: (error): StreamVerdict => {
      if (error.reason === "REVISION_COMPACTED") return "end";
      const verdict = cursor.judge(error);
      // Before the first message a person waits: one round over the endpoints shows that there is nothing to watch.
      return verdict === "resume" && state === "new" ? "elsewhere" : verdict;
    },
    onLost: (error) => {
      if (state !== "open") return;
      state = "lost";
      onLost(error);
    },
    async *open(channel, attempt) {
      const { watchMembers } = MembershipServiceService;
      for await (const message of channel.serverStream(watchMembers, cursor.request(), attempt)) {
        const step = cursor.accept(message, channel.authority);
        // What has no part that this version knows is shown all the same.
        if (step === null && message.part !== undefined) continue;
        if (state === "lost") onResumed(channel.authority);
        state = "open";
        yield step?.kind === "events" ? withEvents(message, step.events) : message;
      }
    },
  });
}

/** The message with those of its events that are new. */
function withEvents(message: WatchMembersResponse, events: readonly MemberEvent[]): WatchMembersResponse {
  return { ...message, part: { $case: "events", value: { events: [...events] } } };
}
