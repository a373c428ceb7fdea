/**
 * The core's configuration and the roster are one: after every entry both list the same voters and learners, at the same
 * index or not at all. DESIGN, "One log, one truth".
 */
import type { Member } from "../member";
import type { MemberState, Observer, RaftInside } from "../observer";
import { Violation } from "../violation";

export class OneTruth implements Observer {
  step(member: Member, raft: RaftInside, before: MemberState): void {
    const { roster, applied } = member.node;
    if (applied === before.applied && before.config === raft.tracker.config) return;
    // A snapshot that is not installed yet has changed the configuration, and the roster follows it.
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
