/**
 * The core's configuration and the roster agree: after every entry both have the same voters and learners.
 * docs/adr/0001-one-entry-per-membership-change.md
 */
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class OneTruth implements Observer {
  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { roster, applied } = member.replica;
    if (applied === before.applied && before.config === raft.tracker.config) return;
    // While a snapshot is being installed, the configuration has changed and the roster has not yet.
    if (raft.log.hasPendingSnapshot() || applied < raft.log.firstIndex() - 1) return;
    const { voters, learners, learnersNext } = raft.tracker.config.confState();
    const members = roster.members();
    const rosterVoters = members.filter((m) => !m.learner).map((m) => m.id);
    const rosterLearners = members.filter((m) => m.learner).map((m) => m.id);
    const coreLearners = [...learners, ...learnersNext];
    if (voters.join() === rosterVoters.join() && coreLearners.length === rosterLearners.length) {
      if (coreLearners.every((id) => rosterLearners.includes(id))) return;
    }
    const text = `core ${hex(voters)} | ${hex(coreLearners)}, roster ${hex(rosterVoters)} | ${hex(rosterLearners)}`;
    throw new Violation("one_truth", `${member.label} at ${applied}: ${text}`);
  }
}

function hex(ids: readonly bigint[]): string {
  return ids.map((id) => id.toString(16).slice(0, 4)).join(" ");
}
