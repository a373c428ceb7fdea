/**
 * The attempts of one write, as far as callers must tell each other of them: in headers of the call.
 *
 * A repeated attempt says that an earlier one may still be on its way (ATTEMPT_KEY), so that the leader logs a refusal
 * under the request id before it answers with it. An attempt under a request id that a member drew says what that member
 * had applied before the first attempt that may be in a log (BASE_KEY), so that it is never applied once outcomes of that
 * time may be forgotten.
 */
import { FORWARD_KEY } from "../base/call";
import type { Call } from "../base/call";
import type { RosterCommand } from "../roster/index";

/** Header: the number of this attempt, from 1. From 2 on, an earlier attempt may have been made, or be on its way. */
export const ATTEMPT_KEY = "muster-attempt";
/** Header: this member drew the request id; a log index. */
export const BASE_KEY = "muster-request-base";

export class Attempts {
  /** Whether an attempt of this call may be in a log, or still be on its way. */
  ambiguous = false;
  private readonly number: number;
  private base: number;
  private readonly generated: boolean;

  constructor(
    private readonly call: Call,
    /** Whether this member drew the request id of the write. */
    private readonly drewRequestId: boolean,
  ) {
    this.number = numberIn(call, ATTEMPT_KEY) ?? 1;
    // A caller's base counts only when a member forwards the call: a client knows no index.
    const base = drewRequestId || call.mayForward ? null : numberIn(call, BASE_KEY);
    this.generated = drewRequestId || base !== null;
    this.base = base ?? 0;
  }

  /** Whether an earlier attempt, of this call or of its caller, may be in a log or still be on its way. */
  get repeats(): boolean {
    return this.ambiguous || this.number > 1;
  }

  /** An attempt begins. @param applied index that this member has applied */
  begin(applied: number): void {
    if (this.drewRequestId && !this.ambiguous) this.base = applied;
  }

  /** The command of this attempt, with what apply must know of earlier ones. */
  mark(command: RosterCommand): RosterCommand {
    if (!this.generated) return command;
    // A repeat is remembered like one under the caller's own id, also when it changes nothing: it must end the matter.
    return { ...command, generatedRequestId: !this.repeats, requestBase: this.base };
  }

  /** The call to the leader. */
  forwarded(): Call {
    const headers = new Map(this.call.headers);
    headers.delete(FORWARD_KEY);
    headers.delete(ATTEMPT_KEY);
    headers.delete(BASE_KEY);
    // In front: what of the headers is too much stays behind.
    const own: [string, string][] = [];
    if (this.repeats) own.push([ATTEMPT_KEY, String(Math.max(2, this.number))]);
    if (this.generated) own.push([BASE_KEY, String(this.base)]);
    return withHeaders(this.call, new Map([...own, ...headers]));
  }
}

/** The positive whole number in a header; null without one. */
function numberIn({ headers }: Call, key: string): number | null {
  const value = headers.get(key);
  if (value === undefined || !/^[1-9][0-9]{0,14}$/.test(value)) return null;
  return Number(value);
}

/** The same call with other headers. */
function withHeaders(call: Call, headers: ReadonlyMap<string, string>): Call {
  const { method, deadline, caller, mayForward } = call;
  return {
    method,
    deadline,
    caller,
    mayForward,
    headers,
    get cancelled() {
      return call.cancelled;
    },
    onCancel: (fn) => call.onCancel(fn),
  };
}
