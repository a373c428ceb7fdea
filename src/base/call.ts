/**
 * One incoming call, independent of the wire: its deadline on this member, its caller, whether it may be forwarded, and
 * whether the caller has cancelled it.
 */
import type { Deadline } from "./deadline";

/** Header: with the value `never`, a member that is not the leader answers NOT_LEADER instead of forwarding the call. */
export const FORWARD_KEY = "muster-forward";

/** The identity of the caller, as far as the wire has authenticated it. */
interface Principal {
  /** "anonymous" for a caller that is not authenticated. */
  readonly name: string;
}

export const ANONYMOUS: Principal = { name: "anonymous" };

export interface Call {
  /** Name of the RPC as in the proto ("AddMember"), for logs and fingerprints. */
  readonly method: string;
  readonly deadline: Deadline;
  /** Headers by lower-case name. Binary headers are left out. */
  readonly headers: ReadonlyMap<string, string>;
  readonly caller: Principal;
  /** False when the caller demanded that this member itself answers (FORWARD_KEY). */
  readonly mayForward: boolean;
  /** Whether the caller has cancelled the call or closed its connection. */
  readonly cancelled: boolean;
  /**
   * Calls `fn` once when the call is cancelled; immediately when it already is. Several functions may be registered.
   *
   * @returns a function that unregisters `fn`
   */
  onCancel(fn: () => void): () => void;
}

/** The caller has cancelled the call and will not read an answer. */
export class CallCancelledError extends Error {
  constructor() {
    super("the caller cancelled the call");
    this.name = "CallCancelledError";
  }
}

/** The one instance: callers go away by the thousand, and an error with a stack of its own for each costs more than the call. */
export const CALL_CANCELLED = new CallCancelledError();

const NO_HEADERS: ReadonlyMap<string, string> = new Map();
const nothing = (): void => undefined;

export interface OpenCallOptions {
  readonly method: string;
  readonly deadline: Deadline;
  /** Called when the headers are first read: most calls never read them. @default no headers */
  readonly headers?: () => ReadonlyMap<string, string>;
  /** @default ANONYMOUS */
  readonly caller?: Principal;
}

/** The writable side of a call, for the wire that received it, or for this member when it makes a call of its own. */
export class OpenCall implements Call {
  readonly method: string;
  readonly deadline: Deadline;
  readonly caller: Principal;
  cancelled = false;
  private readonly readHeaders: () => ReadonlyMap<string, string>;
  private headersRead: ReadonlyMap<string, string> | null = null;
  private waiting: Set<() => void> | null = null;
  private answered = false;

  constructor({ method, deadline, headers = () => NO_HEADERS, caller = ANONYMOUS }: OpenCallOptions) {
    this.method = method;
    this.deadline = deadline;
    this.readHeaders = headers;
    this.caller = caller;
  }

  get headers(): ReadonlyMap<string, string> {
    return (this.headersRead ??= this.readHeaders());
  }

  get mayForward(): boolean {
    // A header that came more than once has its values joined by commas.
    const value = this.headers.get(FORWARD_KEY);
    return value === undefined || !value.split(",").some((part) => part.trim() === "never");
  }

  onCancel(fn: () => void): () => void {
    if (this.answered) return nothing;
    if (this.cancelled) {
      fn();
      return nothing;
    }
    const waiting = (this.waiting ??= new Set());
    waiting.add(fn);
    return () => {
      waiting.delete(fn);
    };
  }

  /** Called by the wire when the caller has cancelled the call. */
  cancel(): void {
    if (this.cancelled || this.answered) return;
    this.cancelled = true;
    const waiting = this.waiting;
    this.waiting = null;
    for (const fn of waiting ?? []) fn();
  }

  /** Called once the call is answered. Some wires report the end of every call as a cancellation; it is ignored then. */
  finish(): void {
    this.answered = true;
    this.waiting = null;
  }
}
