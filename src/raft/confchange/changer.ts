/**
 * Computes the configuration that a configuration change leads to.
 *
 * Works on copies: the tracker changes only when the caller installs the result, so a refused change has no effect.
 * A member that stays keeps its Progress, also when it changes between voter and learner.
 * Raft paper, section 6 (joint consensus); thesis, section 4.1 (a simple change moves one voter, so that old and new
 * majorities overlap).
 */
import { JointConfig, MajorityConfig } from "../quorum";
import { Progress, TrackerConfig } from "../tracker";
import type { ProgressTracker } from "../tracker";
import { ConfChangeType, NO_NODE } from "../types";
import type { ConfChangeSingle, NodeId } from "../types";
import { findViolation } from "./invariants";

/** The configuration after a change and the progress of its members, or why the change is refused. */
export type ChangeResult =
  | { readonly ok: true; readonly config: TrackerConfig; readonly progress: Map<NodeId, Progress> }
  | { readonly ok: false; readonly error: string };

/** Copies that the steps of one change modify. */
interface Draft {
  readonly config: TrackerConfig;
  readonly progress: Map<NodeId, Progress>;
}

export class Changer {
  /**
   * @param lastIndex the last index of the log, where a new member is probed first: a member that already has the log is
   *   found up to date there, and one without a log rejects the probe with a hint
   */
  constructor(
    private readonly tracker: ProgressTracker,
    private readonly lastIndex: number,
  ) {}

  /**
   * Copies the current voters to the outgoing half and applies the changes to the incoming half. Both majorities decide
   * until leaveJoint.
   */
  enterJoint(autoLeave: boolean, changes: readonly ConfChangeSingle[]): ChangeResult {
    const { voters, learners, learnersNext } = this.tracker.config;
    if (voters.isJoint) return refused("config is already joint");
    if (voters.incoming.size === 0) return refused("can't make a zero-voter config joint");
    const both = new JointConfig(voters.incoming.clone(), voters.incoming.clone());
    const draft: Draft = {
      config: new TrackerConfig(both, autoLeave, new Set(learners), new Set(learnersNext)),
      progress: this.copyProgress(),
    };
    return this.apply(draft, changes) ?? finished(draft);
  }

  /** Drops the outgoing half. Those of its voters that are not in the incoming half are removed, or become learners. */
  leaveJoint(): ChangeResult {
    const { voters, learners, learnersNext } = this.tracker.config;
    if (!voters.isJoint) return refused("can't leave a non-joint config");
    const draft: Draft = {
      config: new TrackerConfig(
        new JointConfig(voters.incoming.clone(), new MajorityConfig()),
        false,
        new Set([...learners, ...learnersNext]),
      ),
      progress: this.copyProgress(),
    };
    for (const id of learnersNext) {
      const progress = draft.progress.get(id);
      if (progress !== undefined) progress.isLearner = true;
    }
    for (const id of voters.outgoing.ids()) {
      if (!voters.incoming.has(id) && !draft.config.learners.has(id)) draft.progress.delete(id);
    }
    return finished(draft);
  }

  /** Applies changes that together add or remove at most one voter, and any number of learners. */
  simple(changes: readonly ConfChangeSingle[]): ChangeResult {
    const before = this.tracker.config.voters;
    if (before.isJoint) return refused("can't apply simple config change in joint config");
    const draft: Draft = { config: this.tracker.config.clone(), progress: this.copyProgress() };
    const failed = this.apply(draft, changes);
    if (failed !== null) return failed;
    if (differences(before.incoming, draft.config.voters.incoming) > 1) {
      return refused("more than one voter changed without entering joint config");
    }
    return finished(draft);
  }

  /** Each Progress is copied, because a change may modify it. */
  private copyProgress(): Map<NodeId, Progress> {
    const copies = new Map<NodeId, Progress>();
    this.tracker.visit((id, progress) => copies.set(id, progress.clone()));
    return copies;
  }

  private apply(draft: Draft, changes: readonly ConfChangeSingle[]): ChangeResult | null {
    for (const { type, nodeId } of changes) {
      // A zero id means that the application refused the step when it was applied: the step has no effect.
      if (nodeId === NO_NODE) continue;
      switch (type) {
        case ConfChangeType.AddVoter:
          this.makeVoter(draft, nodeId);
          break;
        case ConfChangeType.AddLearner:
          this.makeLearner(draft, nodeId);
          break;
        case ConfChangeType.Remove:
          remove(draft, nodeId);
          break;
        case ConfChangeType.Update:
          break;
        default:
          return refused(`unknown change type ${String(type satisfies never)}`);
      }
    }
    return draft.config.voters.incoming.size === 0 ? refused("removed all voters") : null;
  }

  private makeVoter({ config, progress }: Draft, id: NodeId): void {
    const known = progress.get(id);
    if (known === undefined) progress.set(id, this.newProgress(false));
    else known.isLearner = false;
    config.learners.delete(id);
    config.learnersNext.delete(id);
    config.voters.incoming.add(id);
  }

  private makeLearner(draft: Draft, id: NodeId): void {
    const { config, progress } = draft;
    const known = progress.get(id);
    if (known === undefined) {
      progress.set(id, this.newProgress(true));
      config.learners.add(id);
      return;
    }
    if (known.isLearner) return;
    remove(draft, id);
    progress.set(id, known);
    // An outgoing voter still votes in the outgoing half: it becomes a learner when the joint configuration is left.
    if (config.voters.outgoing.has(id)) {
      config.learnersNext.add(id);
    } else {
      known.isLearner = true;
      config.learners.add(id);
    }
  }

  /**
   * A new member counts as active: otherwise the next quorum check could make the leader step down before the member
   * has had time to answer.
   */
  private newProgress(isLearner: boolean): Progress {
    return new Progress(0, Math.max(this.lastIndex, 1), this.tracker.newInflights(), isLearner, true);
  }
}

/** Removes a member. An outgoing voter keeps its Progress, as it still needs the entries. */
function remove({ config, progress }: Draft, id: NodeId): void {
  if (!progress.has(id)) return;
  config.voters.incoming.delete(id);
  config.learners.delete(id);
  config.learnersNext.delete(id);
  if (!config.voters.outgoing.has(id)) progress.delete(id);
}

/** The number of ids that are in only one of the sets. */
function differences(a: MajorityConfig, b: MajorityConfig): number {
  const missing = (from: MajorityConfig, other: MajorityConfig): number =>
    from.ids().filter((id) => !other.has(id)).length;
  return missing(a, b) + missing(b, a);
}

function refused(error: string): ChangeResult {
  return { ok: false, error };
}

function finished({ config, progress }: Draft): ChangeResult {
  const violation = findViolation(config, progress);
  return violation === null ? { ok: true, config, progress } : refused(violation);
}
