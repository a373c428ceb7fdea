/** Calls and requests as the services would make them, and what ended them. */
import { FORWARD_KEY, OpenCall } from "../../../src/base/call";
import type { Clock } from "../../../src/base/clock";
import { Deadline } from "../../../src/base/deadline";
import { reasonOf } from "../../../src/cluster/publish";
import type { WriteRequest } from "../../../src/cluster/writes";
import { encodeCommand } from "../../../src/roster/index";
import type { RosterCommand } from "../../../src/roster/index";

/** What MemoryPeers carries a test's write and read by. */
export const WRITE_PATH = "/test/Write";
export const READ_PATH = "/test/Read";

export interface TestCallOptions {
  /** Until the deadline that the member keeps itself: the margin is added. @default 10000 */
  readonly timeoutMs?: number;
  /** @default true */
  readonly mayForward?: boolean;
  /** Further headers. @default none */
  readonly headers?: readonly (readonly [string, string])[];
}

/** A call whose own deadline passes after `timeoutMs`. */
export function callOf(
  clock: Clock,
  { timeoutMs = 10_000, mayForward = true, headers: given = [] }: TestCallOptions = {},
): OpenCall {
  // Deadline.of takes 5 % off, at least 20 ms and at most 250 ms; between the two the sum would not be exact.
  if (timeoutMs > 380 && timeoutMs < 4750) throw new Error(`choose another timeout than ${timeoutMs} ms`);
  const received = timeoutMs <= 380 ? timeoutMs + 20 : timeoutMs + 250;
  const headers = new Map([...given, ...(mayForward ? [] : [[FORWARD_KEY, "never"] as const])]);
  return new OpenCall({
    method: "Test",
    deadline: Deadline.of(clock, received, 1000),
    headers: () => headers,
  });
}

let lastProposal = 5000n;

/** The write of a command; its answer is the revision. Every attempt has a proposal id of its own. */
export function writeOf(command: RosterCommand, validateOnly = false): WriteRequest<number> {
  return {
    validateOnly,
    command: () => ({ ...command, proposalId: ++lastProposal }),
    forward: () => ({ path: WRITE_PATH, body: encodeCommand(command) }),
    answer: ({ revision }) => revision,
  };
}

/** The reason of whatever ended a call; the name of an error without one. */
export function why(error: unknown): string {
  const reason = reasonOf(error);
  if (reason !== null) return reason;
  return error instanceof Error ? error.name : String(error);
}
