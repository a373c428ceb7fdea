/**
 * The one early decision about a write on the leader. Pure: reads the command and a view of the leader, nothing else.
 *
 * It only refuses early; apply decides for good (roster/rules.ts). A refusal that depends on the roster, and every
 * answer that only validates, is given after a ReadIndex of this term is confirmed and applied, so never by a roster
 * that is behind. The strict reconfiguration check is made again each time a change is looked at.
 */
import type { NodeId } from "../../raft/index";
import { formatId, needsConfChange, refused } from "../../roster/index";
import type { Decision, RefusedError, RosterCommand, RosterView } from "../../roster/index";
import { checkQuorumAfter } from "./quorum_check";
import type { QuorumVerdict, VoterHealth } from "./quorum_check";

/** What a decision may read. Ticks are heartbeat intervals. */
export interface LeaderView {
  /** This member, the leader. */
  readonly self: NodeId;
  readonly roster: RosterView & { evaluate(command: RosterCommand): Decision };
  /** Whether the disk takes entries. */
  readonly hasSpace: boolean;
  /** Writes that wait on this member, and how many may; this one is among them once it was let in. */
  readonly waiting: number;
  readonly waitingMax: number;
  /** False when the write has just arrived. */
  readonly letIn: boolean;
  /** Whether a ReadIndex that began after the write arrived is confirmed and applied. */
  readonly confirmed: boolean;
  readonly voters: readonly VoterHealth[];
  readonly electionTicks: number;
  readonly heartbeatMs: number;
  /** Since this member began to lead. */
  readonly leadingTicks: number;
  /** Until the caller must have its answer. */
  readonly remainingTicks: number;
  /** Whether the member to be added waits at its peer URL; asked only in a cluster of one. */
  readonly joiner: "not asked" | "waits" | "absent";
  /** Whether leadership was offered to another member, and no member took it. */
  readonly handoverFailed: boolean;
}

export interface Write {
  readonly command: RosterCommand;
  readonly validateOnly: boolean;
}

export type Admission =
  /** Propose it now. */
  | { readonly kind: "ok" }
  /** Answer with this; nothing is proposed. */
  | { readonly kind: "decided"; readonly decision: Decision }
  | { readonly kind: "refused"; readonly error: RefusedError }
  /** Not let in: nothing of it was looked at, and it may be tried again. */
  | { readonly kind: "turned away"; readonly error: RefusedError }
  /** Only time is missing; look again at every tick. */
  | { readonly kind: "wait"; readonly ticks: number }
  /** Confirm a ReadIndex, then look again. */
  | { readonly kind: "confirm" }
  /** Ask whether this member waits to join, then look again. */
  | { readonly kind: "ask joiner"; readonly name: string; readonly peerUrl: string }
  /** Hand leadership to another member, then look again if that fails. */
  | { readonly kind: "hand over" };

const OK: Admission = { kind: "ok" };
/** When a caller that was refused as one too many should come back, in milliseconds. */
const RETRY_DELAY_MS = 1000;

export function admit(write: Write, view: LeaderView): Admission {
  if (!view.letIn) {
    const error = turnedAway(view);
    if (error !== null) return { kind: "turned away", error };
  }
  const { command, validateOnly } = write;
  const decision = view.roster.evaluate(command);
  const changesConfiguration = needsConfChange(command);
  const needsNoEntry = decision.accepted
    ? changesConfiguration
      ? decision.repeated
      : command.body?.$case === "publish" && !decision.changed
    : true;
  if (!view.confirmed) {
    return changesConfiguration || validateOnly || needsNoEntry ? { kind: "confirm" } : OK;
  }
  if (needsNoEntry) return { kind: "decided", decision };
  const verdict = changesConfiguration ? checkChange(command, view) : OK;
  if (verdict.kind !== "ok") return verdict;
  if (validateOnly) return { kind: "decided", decision };
  return removesLeader(command, view) && !view.handoverFailed ? { kind: "hand over" } : OK;
}

function turnedAway({ hasSpace, waiting, waitingMax }: LeaderView): RefusedError | null {
  if (!hasSpace) return refused("DISK_FULL", "the leader's disk is full; free space, then try again");
  if (waiting < waitingMax) return null;
  const text = `${String(waitingMax)} writes wait already; try again later`;
  return refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
}

// --- Strict reconfiguration check -----------------------------------------------------------------------------------

function checkChange(command: RosterCommand, view: LeaderView): Admission {
  const { body } = command;
  const { voters, electionTicks } = view;
  const contactTicks = 2 * electionTicks;
  switch (body?.$case) {
    case "addMember": {
      if (voters.length === 1) return checkJoiner(body.value.name, body.value.peerUrl, view);
      return fromVerdict(checkQuorumAfter(voters, voters.length + 1, contactTicks), view);
    }
    case "removeMember": {
      const target = removedMember(command, view);
      if (target === null || target.learner) return OK;
      const remaining = voters.filter((voter) => voter.id !== target.id);
      return fromVerdict(checkQuorumAfter(remaining, remaining.length, contactTicks), view);
    }
    default:
      return OK;
  }
}

/** A second member makes the quorum two: the change would stop a cluster of one unless that member is there. */
function checkJoiner(name: string, peerUrl: string, view: LeaderView): Admission {
  if (view.joiner === "waits") return OK;
  if (view.joiner === "not asked") return { kind: "ask joiner", name, peerUrl };
  const text =
    `no member named ${name} waits to join at ${peerUrl}; a cluster of one would stop when it is added: ` +
    "start it first with initial-cluster-state existing, then try again";
  const retryMs = 2 * view.electionTicks * view.heartbeatMs;
  return {
    kind: "refused",
    error: refused("UNHEALTHY_CLUSTER", text, { name, peer_url: peerUrl }, retryMs),
  };
}

function fromVerdict(verdict: QuorumVerdict, view: LeaderView): Admission {
  const { electionTicks, remainingTicks, leadingTicks } = view;
  switch (verdict.kind) {
    case "ok":
      return OK;
    case "wait": {
      const { ticks, blocking } = verdict;
      // The caller's deadline would pass first: say so now, with the time to come back.
      return ticks < remainingTicks ? { kind: "wait", ticks } : unhealthy(blocking, ticks, view);
    }
    case "not-started": {
      const { blocking, needed } = verdict;
      // Voters in contact have started and are about to publish themselves.
      const publishing = blocking.some((voter) => voter.inContactTicks !== null);
      if (publishing && remainingTicks > 1) return { kind: "wait", ticks: 1 };
      return { kind: "refused", error: notStarted(blocking, needed) };
    }
    case "unhealthy": {
      // A new leader has not had the time to hear from everyone.
      const settling = leadingTicks < electionTicks && remainingTicks > electionTicks;
      if (settling) return { kind: "wait", ticks: electionTicks - leadingTicks };
      return unhealthy(verdict.blocking, 2 * electionTicks, view);
    }
  }
}

function unhealthy(
  blocking: readonly VoterHealth[],
  retryTicks: number,
  { heartbeatMs }: LeaderView,
): Admission {
  const text =
    `too few voters would be in contact with the leader after this change; waiting for ${names(blocking)}: ` +
    "bring them back, then try again";
  const retryMs = Math.ceil(retryTicks * heartbeatMs);
  return {
    kind: "refused",
    error: refused("UNHEALTHY_CLUSTER", text, blockingMetadata(blocking), retryMs),
  };
}

function notStarted(blocking: readonly VoterHealth[], needed: number): RefusedError {
  const text =
    `after this change ${String(needed)} voters must have started, but ${names(blocking)} never did: ` +
    "start or remove them, then try again";
  const metadata = { ...blockingMetadata(blocking), needed: String(needed) };
  return refused("NOT_ENOUGH_STARTED_MEMBERS", text, metadata);
}

function names(voters: readonly VoterHealth[]): string {
  return voters.length === 0 ? "nobody in particular" : voters.map((voter) => voter.name).join(", ");
}

function blockingMetadata(voters: readonly VoterHealth[]): Record<string, string> {
  return {
    blocking_names: voters.map((voter) => voter.name).join(","),
    blocking_ids: voters.map((voter) => formatId(voter.id)).join(","),
  };
}

// --- The member that a change removes -------------------------------------------------------------------------------

function removedMember({ body }: RosterCommand, { roster }: LeaderView) {
  if (body?.$case !== "removeMember") return null;
  const { id, name } = body.value.member ?? { id: 0n, name: "" };
  return id !== 0n ? roster.member(id) : roster.memberByName(name);
}

function removesLeader(command: RosterCommand, view: LeaderView): boolean {
  return removedMember(command, view)?.id === view.self;
}
