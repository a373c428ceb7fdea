/**
 * The strict reconfiguration check of one membership change, on the leader. Pure: reads the command and what the leader
 * sees, nothing else.
 *
 * A change passes when a majority of the voters after it is healthy, and when no fewer voters may fail after it than
 * before it, except where the change itself takes a voter out. A joint change is checked by its voters before and after:
 * the confirmed read before the check has shown the majority of those before.
 */
import type { NodeId } from "../../raft/index";
import { formatId, refused, selectorsOf } from "../../roster/index";
import type { MemberRecord, RefusedError, RosterCommand, RosterView } from "../../roster/index";
import { notReady, readinessOf } from "./readiness";
import type { LearnerHealth } from "./readiness";
import { checkQuorumAfter, failuresTolerated, majorityOf } from "./quorum_check";
import type { QuorumVerdict, VoterHealth } from "./quorum_check";
import { joinerProblem, memberProblem } from "./url_check";
import type { UrlAnswer } from "./url_check";

/** What the check may read. Ticks are heartbeat intervals. */
export interface CheckView {
  /** This member, the leader. */
  readonly self: NodeId;
  readonly clusterId: bigint;
  readonly roster: RosterView;
  readonly voters: readonly VoterHealth[];
  readonly learners: readonly LearnerHealth[];
  readonly electionTicks: number;
  readonly heartbeatMs: number;
  /** Since this member began to lead. */
  readonly leadingTicks: number;
  /** Until the caller must have its answer. */
  readonly remainingTicks: number;
  /** Since this change first had to wait for time only, with no other change before it. */
  readonly waitedTicks: number;
  /** Which member answers at the change's peer URL, as far as it was asked a short while ago. */
  readonly urlAnswer: UrlAnswer | "not asked";
}

export type CheckResult =
  | { readonly kind: "ok" }
  | { readonly kind: "refused"; readonly error: RefusedError }
  /** Only time is missing; look again at every tick. */
  | { readonly kind: "wait"; readonly ticks: number }
  /** Ask which member answers at this URL, then look again. */
  | { readonly kind: "ask url"; readonly url: string };

const OK: CheckResult = { kind: "ok" };
/**
 * How long a change may wait where only time is missing, in election timeouts. A member needs two to count as healthy; a
 * change that waited much longer would hold up those behind it for members that come and go.
 */
const WAIT_ELECTIONS_MAX = 5;

export function checkChange(command: RosterCommand, view: CheckView): CheckResult {
  const { body } = command;
  const { voters } = view;
  switch (body?.$case) {
    case "addMember": {
      const { name, peerUrl, learner } = body.value;
      // It does not vote, so that it can't cost the quorum anything.
      if (learner) return OK;
      return voters.length === 1 ? checkJoiner(name, peerUrl, view) : checkVoters(voters, 1, view);
    }
    case "removeMember": {
      const target = targetOf(command, view);
      if (target === null || target.learner) return OK;
      return checkRemoval(target, view);
    }
    case "replaceMember": {
      const target = targetOf(command, view);
      // Side by side it adds a learner; in place a learner takes the place, which is a removal.
      if (target === null || body.value.sideBySide) return OK;
      const contact = checkOutOfContact(target, view);
      if (contact.kind !== "ok") return contact;
      return target.learner ? OK : checkRemoval(target, view);
    }
    case "updateMember": {
      const target = targetOf(command, view);
      return target === null ? OK : checkUrl(target, body.value.newPeerUrl, view);
    }
    case "promoteMember": {
      const learner = view.learners.find(({ id }) => id === targetOf(command, view)?.id);
      if (learner === undefined) return OK;
      const refusal = checkReady(learner, view);
      return refusal ?? checkVoters([...voters, learner], 0, view);
    }
    case "changeMembers":
      return checkJointChange(command, view);
    default:
      return OK;
  }
}

/** The member that the command's selector names; null when there is none, for an add, and for a change of several. */
function targetOf(command: RosterCommand, view: Pick<CheckView, "roster">): MemberRecord | null {
  const [first, second] = selectorsOf(command);
  return first === undefined || second !== undefined ? null : lookUp(first, view);
}

/** The member that one selector names. */
export function lookUp(
  { id, name }: { readonly id: bigint; readonly name: string },
  { roster }: Pick<CheckView, "roster">,
): MemberRecord | null {
  return id !== 0n ? roster.member(id) : roster.memberByName(name);
}

/** The voters that do not vote any more after the command. */
export function leavingVoters(command: RosterCommand, view: Pick<CheckView, "roster">): NodeId[] {
  const { body } = command;
  const leaving =
    body?.$case === "changeMembers"
      ? [...body.value.demote, ...body.value.standBy, ...body.value.remove]
      : body?.$case === "removeMember"
        ? selectorsOf(command)
        : [];
  return leaving.flatMap((selector) => {
    const found = lookUp(selector, view);
    return found === null || found.learner ? [] : [found.id];
  });
}

// --- Voters added and removed ---------------------------------------------------------------------------------------

/**
 * @param known those of the known members that vote after the change
 * @param unknown voters that the change adds, and of which nothing is known yet: they count for no majority
 */
function checkVoters(known: readonly VoterHealth[], unknown: number, view: CheckView): CheckResult {
  const result = checkMajority(known, known.length + unknown, view);
  if (result.kind !== "ok") return result;
  const before = failuresTolerated(view.voters);
  const after = failuresTolerated(known, unknown);
  if (after >= before) return OK;
  const away = known.filter(({ inContactTicks }) => inContactTicks === null);
  const why = `${tolerates(after)} after this change, ${tolerates(before)} now`;
  return refusedAsUnhealthy(`${why}; ${names(away)} would vote without being in contact`, away, view);
}

/**
 * Voters come and go in one change. Those that are promoted are ready, and a majority of the voters after it is healthy; that
 * fewer may fail then is what the change itself says, when it takes voters out.
 */
function checkJointChange(command: RosterCommand, view: CheckView): CheckResult {
  const { body } = command;
  if (body?.$case !== "changeMembers") return OK;
  const promoted = body.value.promote.flatMap((selector) => {
    const id = lookUp(selector, view)?.id;
    return view.learners.filter((learner) => learner.id === id);
  });
  for (const learner of promoted) {
    const refusal = checkReady(learner, view);
    if (refusal !== null) return refusal;
  }
  // A voter whose place a standby is to take may be back by now, and keeps it then.
  for (const selector of body.value.standBy) {
    const voter = lookUp(selector, view);
    const contact = voter === null ? OK : checkOutOfContact(voter, view);
    if (contact.kind !== "ok") return contact;
  }
  const leaving = leavingVoters(command, view);
  if (promoted.length === 0 && leaving.length === 0) return OK;
  const after = [...view.voters.filter(({ id }) => !leaving.includes(id)), ...promoted];
  return leaving.length === 0 ? checkVoters(after, 0, view) : checkMajority(after, after.length, view);
}

/** Null: it is ready. A leader that has just taken over waits for what it can't know yet. */
function checkReady(learner: LearnerHealth, view: CheckView): CheckResult | null {
  const { electionTicks, leadingTicks } = view;
  const readiness = readinessOf(learner, electionTicks);
  if (readiness.ready) return null;
  const settling = learner.started ? electionTicks - leadingTicks : 0;
  const ticks = readiness.ticks ?? Math.max(0, settling);
  if (ticks > 0 && ticks < ticksLeft(view)) return { kind: "wait", ticks };
  return { kind: "refused", error: notReady(learner, readiness, view) };
}

function checkRemoval(target: MemberRecord, view: CheckView): CheckResult {
  const { voters, self, leadingTicks, electionTicks } = view;
  const remaining = voters.filter(({ id }) => id !== target.id);
  const isGone = voters.some(({ id, inContactTicks }) => id === target.id && inContactTicks === null);
  // A voter that is away does not count for the quorum now, so removing it makes nothing worse. It is the way out of
  // most troubles, and must not wait for the members that are in contact to be so for longer.
  if (isGone && target.id !== self && leadingTicks >= electionTicks) {
    const inContact = remaining.filter(({ inContactTicks }) => inContactTicks !== null).length;
    if (inContact >= majorityOf(remaining.length)) return OK;
  }
  return checkMajority(remaining, remaining.length, view);
}

/** A member that answers has its disk: to take its id away would be a mistake. */
function checkOutOfContact({ id, name }: MemberRecord, view: CheckView): CheckResult {
  const { self, voters, learners, leadingTicks, electionTicks } = view;
  const health = [...voters, ...learners].find((member) => member.id === id);
  if (id !== self && health?.inContactTicks === null) {
    // A new leader may not have heard from it yet.
    const settling = electionTicks - leadingTicks;
    if (settling <= 0) return OK;
    if (settling < ticksLeft(view)) return { kind: "wait", ticks: settling };
  }
  const text =
    `the leader is in contact with ${name} (${formatId(id)}), or has not been without for an election timeout: ` +
    "if its disk is lost, stop it first; else replace it by a member of another name and peer URL";
  const metadata = { id: formatId(id), name };
  return { kind: "refused", error: refused("MEMBER_IN_CONTACT", text, metadata, retryMs(view)) };
}

/** A second member makes the quorum two: the change would stop a cluster of one unless that member is there. */
function checkJoiner(name: string, peerUrl: string, view: CheckView): CheckResult {
  const { urlAnswer } = view;
  if (urlAnswer === "not asked") return { kind: "ask url", url: peerUrl };
  const problem = joinerProblem(urlAnswer, name, peerUrl);
  if (problem === null) return OK;
  const text =
    `${problem}; a cluster of one would stop when ${name} is added: ` +
    "start it first with initial-cluster-state existing and this peer URL, then try again";
  const told =
    urlAnswer === "nobody" ? {} : { answered_name: urlAnswer.name, answered_peer_url: urlAnswer.peerUrl };
  const metadata = { name, peer_url: peerUrl, ...told };
  return { kind: "refused", error: refused("UNHEALTHY_CLUSTER", text, metadata, retryMs(view)) };
}

// --- A voter's new peer URL -----------------------------------------------------------------------------------------

/** Passes when this very member answers at its new URL; else the change is checked as if the member were lost. */
function checkUrl(target: MemberRecord, peerUrl: string, view: CheckView): CheckResult {
  const { voters, urlAnswer, clusterId } = view;
  const isSame = target.peerUrls.length === 1 && target.peerUrls[0] === peerUrl;
  if (target.learner || isSame) return OK;
  if (urlAnswer === "not asked") return { kind: "ask url", url: peerUrl };
  const problem = memberProblem(urlAnswer, target, peerUrl, clusterId);
  if (problem === null) return OK;
  const after = voters.map((voter) => (voter.id === target.id ? { ...voter, inContactTicks: null } : voter));
  const tolerated = failuresTolerated(after);
  if (tolerated >= failuresTolerated(voters)) {
    const result = checkMajority(after, after.length, view);
    if (result.kind !== "refused") return result;
  }
  const text =
    `${problem}, so the change would count as the loss of ${target.name}, and the cluster ${tolerates(tolerated)} then: ` +
    `start ${target.name} with the peer URL ${peerUrl} first, then try again`;
  const metadata = { id: formatId(target.id), name: target.name, peer_url: peerUrl };
  const error = refused("UNHEALTHY_CLUSTER", text, metadata, retryMs(view));
  return { kind: "refused", error };
}

function tolerates(failures: number): string {
  if (failures < 0) return "would have no quorum";
  return failures === 0
    ? "tolerates no failure"
    : `tolerates ${failures} ${failures === 1 ? "failure" : "failures"}`;
}

// --- A majority that is healthy -------------------------------------------------------------------------------------

function checkMajority(known: readonly VoterHealth[], size: number, view: CheckView): CheckResult {
  const { electionTicks, leadingTicks } = view;
  const contactTicks = 2 * electionTicks;
  const verdict = checkQuorumAfter(known, size, contactTicks);
  if (verdict.kind === "ok") return OK;
  const leftTicks = ticksLeft(view);
  if (verdict.kind === "wait") {
    const { ticks, blocking } = verdict;
    // The deadline would pass first: say so now, with the time to come back.
    return ticks < leftTicks ? { kind: "wait", ticks } : tooShort(blocking, ticks, view);
  }
  // Members in contact have started and are about to publish themselves.
  const published = known.map((voter) =>
    voter.inContactTicks === null ? voter : { ...voter, started: true },
  );
  const later = checkQuorumAfter(published, size, contactTicks);
  const ticks = later.kind === "wait" ? later.ticks : 1;
  if ((later.kind === "ok" || later.kind === "wait") && ticks < leftTicks) return { kind: "wait", ticks };
  if (verdict.kind === "not-started") return notStarted(verdict, view);
  // A new leader has not had the time to hear from everyone.
  const settling = electionTicks - leadingTicks;
  if (settling > 0 && leftTicks > electionTicks) return { kind: "wait", ticks: settling };
  return unhealthy(verdict.blocking, view);
}

/** Until the caller's deadline, or until this change has held up the others for long enough. */
function ticksLeft({ remainingTicks, electionTicks, waitedTicks }: CheckView): number {
  return Math.min(remainingTicks, WAIT_ELECTIONS_MAX * electionTicks - waitedTicks);
}

function unhealthy(blocking: readonly VoterHealth[], view: CheckView): CheckResult {
  const text = `too few voters would be in contact with the leader after this change; waiting for ${names(blocking)}`;
  return refusedAsUnhealthy(text, blocking, view);
}

function tooShort(blocking: readonly VoterHealth[], ticks: number, view: CheckView): CheckResult {
  const text =
    `too few voters would have been in contact with the leader for two election timeouts after this change; ` +
    `waiting for ${names(blocking)}: try again later`;
  const delayMs = Math.ceil(ticks * view.heartbeatMs);
  return { kind: "refused", error: refused("UNHEALTHY_CLUSTER", text, blockingMetadata(blocking), delayMs) };
}

function refusedAsUnhealthy(text: string, blocking: readonly VoterHealth[], view: CheckView): CheckResult {
  const away = view.voters.filter(({ id }) =>
    blocking.some((voter) => voter.id === id && voter.inContactTicks === null),
  );
  const remove = away.map(({ name }) => `muster member remove ${name}`).join(", ");
  const removal = away.length === 1 ? `the dead member (${remove})` : `those that are dead (${remove})`;
  const wayOut = away.length === 0 ? "bring them back" : `bring them back, or remove ${removal} first`;
  const metadata = blockingMetadata(blocking);
  const error = refused("UNHEALTHY_CLUSTER", `${text}: ${wayOut}, then try again`, metadata, retryMs(view));
  return { kind: "refused", error };
}

function notStarted(
  { blocking, needed }: Extract<QuorumVerdict, { kind: "not-started" }>,
  view: CheckView,
): CheckResult {
  const publishing = blocking.filter(({ inContactTicks }) => inContactTicks !== null);
  const text =
    `after this change ${needed} voters must have started, but ${names(blocking)} never did: ` +
    (publishing.length > 0
      ? `${names(publishing)} in contact, but not published yet (see the log there); try again later`
      : "start or remove them, then try again");
  const metadata = { ...blockingMetadata(blocking), needed: String(needed) };
  const delayMs = publishing.length > 0 ? retryMs(view) : null;
  return { kind: "refused", error: refused("NOT_ENOUGH_STARTED_MEMBERS", text, metadata, delayMs) };
}

/** When to come back: after as long as a member that comes back needs to count as healthy, in milliseconds. */
function retryMs({ electionTicks, heartbeatMs }: CheckView): number {
  return 2 * electionTicks * heartbeatMs;
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
