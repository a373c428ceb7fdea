/**
 * The one early decision about a write on the leader. Pure: reads the command and a view of the leader, nothing else.
 *
 * It only refuses early; apply decides for good (roster/rules.ts). A refusal that depends on the roster, and every
 * answer that only validates, is given after a ReadIndex of this term is confirmed and applied, so never by a roster
 * that is behind. The strict reconfiguration check (change_check.ts) is made again each time a change is looked at.
 */
import { featureNotReady, featureOf, formatId, needsConfChange, refused } from "../../roster/index";
import type { Decision, MemberRecord, RefusedError, RosterCommand, RosterView } from "../../roster/index";
import { checkChange, leavingVoters } from "./change_check";
import type { CheckResult, CheckView } from "./change_check";
import { quorumSteps } from "./quorum_steps";
import { RETRY_DELAY_MS } from "./submission";

/** What a decision may read. */
export interface LeaderView extends CheckView {
  readonly roster: RosterView & { evaluate(command: RosterCommand): Decision };
  /** Whether the disk takes entries. */
  readonly hasSpace: boolean;
  /** Whether the disk takes no entries, and leadership is about to go to a member whose disk does. */
  readonly handsOver: boolean;
  /** Writes that wait on this member, and how many may; this one is among them once it was let in. */
  readonly waiting: number;
  readonly waitingMax: number;
  /** False when the write has just arrived. */
  readonly letIn: boolean;
  /** Whether a ReadIndex that began after the write arrived is confirmed and applied. */
  readonly confirmed: boolean;
  /** Whether leadership was offered to another member, and no member took it. */
  readonly handoverFailed: boolean;
}

export interface Write {
  readonly command: RosterCommand;
  readonly validateOnly: boolean;
  /** Whether an earlier attempt may be in a log or on its way. @default false */
  readonly repeats?: boolean;
  /** See Submission. */
  readonly seen?: readonly MemberRecord[];
  /** See Submission. */
  readonly holds?: () => boolean;
}

export type Admission =
  /** Propose it now, wait, ask, or refuse it. */
  | CheckResult
  /** Answer with this; nothing is proposed. */
  | { readonly kind: "decided"; readonly decision: Decision }
  /** Not let in: nothing of it was looked at, and it may be tried again. */
  | { readonly kind: "turned away"; readonly error: RefusedError }
  /** Not let in: another member is about to lead, and may take it. */
  | { readonly kind: "elsewhere" }
  /** Confirm a ReadIndex, then look again. */
  | { readonly kind: "confirm" }
  /** Hand leadership to another member, then look again if that fails. */
  | { readonly kind: "hand over" };

const OK: Admission = { kind: "ok" };

export function admit(write: Write, view: LeaderView): Admission {
  if (!view.letIn) {
    if (!view.hasSpace && view.handsOver) return { kind: "elsewhere" };
    const error = turnedAway(view);
    if (error !== null) return { kind: "turned away", error };
  }
  const { command, validateOnly, repeats = false } = write;
  const decision = view.roster.evaluate(command);
  const changesConfiguration = needsConfChange(command);
  const needsNoEntry = decision.accepted
    ? changesConfiguration
      ? decision.repeated
      : command.body?.$case === "publish" && !decision.changed && decision.silent !== true && !repeats
    : true;
  const feature = featureOf(command);
  if (!view.confirmed) {
    // Whether every member knows it is in the roster too: one that does not would stop at the entry.
    const dependsOnRoster = changesConfiguration || validateOnly || needsNoEntry || feature !== null;
    return dependsOnRoster ? { kind: "confirm" } : OK;
  }
  if (!holdsStill(write, view)) return { kind: "refused", error: seenOtherwise() };
  if (needsNoEntry) return { kind: "decided", decision };
  const older = feature === null ? null : featureNotReady(view.roster.members(), feature);
  if (older !== null) return { kind: "refused", error: older };
  const verdict = changesConfiguration ? checkChange(command, view) : OK;
  if (verdict.kind !== "ok") return verdict;
  if (validateOnly) {
    const steps = changesConfiguration ? { quorumSteps: quorumSteps(command, view) } : {};
    return { kind: "decided", decision: { ...decision, ...steps } };
  }
  return removesLeader(command, view) && !view.handoverFailed ? { kind: "hand over" } : OK;
}

function turnedAway({ self, roster, hasSpace, waiting, waitingMax }: LeaderView): RefusedError | null {
  if (!hasSpace) {
    const id = formatId(self);
    const name = roster.member(self)?.name ?? id;
    const text = `the disk of the leader, ${name} (${id}), is full; free space there, then try again`;
    return refused("DISK_FULL", text, { member_id: id, member_name: name });
  }
  if (waiting < waitingMax) return null;
  const text = `${String(waitingMax)} writes wait already; try again later`;
  return refused("TOO_MANY_REQUESTS", text, {}, RETRY_DELAY_MS);
}

function isAsSeen({ id, learner, target, replaces, started }: MemberRecord, roster: RosterView): boolean {
  const now = roster.member(id);
  return (
    now?.learner === learner && now.target === target && now.replaces === replaces && now.started === started
  );
}

function holdsStill({ seen = [], holds }: Write, { roster }: LeaderView): boolean {
  return seen.every((record) => isAsSeen(record, roster)) && holds?.() !== false;
}

function seenOtherwise(): RefusedError {
  return refused(
    "REVISION_MISMATCH",
    "the members are not as they were when the leader decided on this change",
  );
}

function removesLeader(command: RosterCommand, view: LeaderView): boolean {
  return leavingVoters(command, view).includes(view.self);
}
