/**
 * Computes the configuration that a membership change leads to.
 *
 * Works on copies: the tracker changes only when the caller installs a result, and a refused change leaves no trace.
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

/** The configuration after a change with its members, or why the change is refused. */
export type ChangeResult =
  | { readonly ok: true; readonly config: TrackerConfig; readonly progress: Map<NodeId, Progress> }
  | { readonly ok: false; readonly error: string };

/** A configuration in the making: copies that the steps of one change work on. */
interface Draft {
  readonly config: TrackerConfig;
  readonly progress: Map<NodeId, Progress>;
}

export class Changer {
  /**
   * @param lastIndex the last index of the log: where a new member is probed first, as the log's end is the likeliest
   *   place for it to be asked for a snapshot or found up to date
   */
  constructor(
    private readonly tracker: ProgressTracker,
    private readonly lastIndex: number,
  ) {}

  /**
   * Makes the present voters the outgoing half and applies the changes to the incoming half. From here on both
   * majorities decide, until leaveJoint.
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

  /** Drops the outgoing half. Its members that have no place in the incoming half are gone, or become learners. */
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

  /** Applies changes that together move at most one voter; any number of learners. */
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

  /** Each Progress is copied, because a change may turn it into a learner's. */
  private copyProgress(): Map<NodeId, Progress> {
    const copies = new Map<NodeId, Progress>();
    this.tracker.visit((id, progress) => copies.set(id, progress.clone()));
    return copies;
  }

  private apply(draft: Draft, changes: readonly ConfChangeSingle[]): ChangeResult | null {
    for (const { type, nodeId } of changes) {
      // An application that turns a change down at apply zeroes its id: such a step does nothing.
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
    // An outgoing voter still votes in the outgoing half: it waits as a learner-to-be until the joint config is left.
    if (config.voters.outgoing.has(id)) {
      config.learnersNext.add(id);
    } else {
      known.isLearner = true;
      config.learners.add(id);
    }
  }

  /**
   * A new member counts as heard from: else the leader's next quorum check could make it step down before the member
   * had a chance to answer.
   */
  private newProgress(isLearner: boolean): Progress {
    return new Progress(0, Math.max(this.lastIndex, 1), this.tracker.newInflights(), isLearner, true);
  }
}

/** Takes a member out; an outgoing voter keeps its Progress, as entries still have to reach it. */
function remove({ config, progress }: Draft, id: NodeId): void {
  if (!progress.has(id)) return;
  config.voters.incoming.delete(id);
  config.learners.delete(id);
  config.learnersNext.delete(id);
  if (!config.voters.outgoing.has(id)) progress.delete(id);
}

/** How many ids are in one set and not in the other. */
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
