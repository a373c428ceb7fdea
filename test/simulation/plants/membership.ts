/** Planted bugs: membership changes, the roster, snapshots. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const JOINT = "raft/quorum/joint.ts";
const ROSTER = "roster/roster.ts";

export const MEMBERSHIP_PLANTS: readonly Plant[] = [
  {
    name: "instance-check-off",
    bug: "peers admit a member that lost its data directory as if it were the instance that they know",
    edits: [
      {
        file: "cluster/peer_identity.ts",
        find: "if (instance !== null && !sameBytes(instance, handshake.instanceId)) return wiped(known, id);",
        replace: "if (instance !== null && id === 0n) return wiped(known, id);",
      },
      {
        file: "cluster/peer_identity.ts",
        find: "return known !== null && !sameBytes(known, instanceId);",
        replace: "return known !== null && !sameBytes(known, instanceId) && id === 0n;",
      },
    ],
  },
  plant(
    "contacts-kept-from-earlier-term",
    "a new leader counts members that it was in contact with in an earlier term of its own",
    "replica/replica.ts",
    "if (change.becameLeader) this.contacts.reset();",
    "",
  ),
  plant(
    "strict-check-always-ok",
    "the strict reconfiguration check lets every change pass",
    "cluster/leader/admission.ts",
    "const verdict = changesConfiguration ? checkChange(command, view) : OK;",
    "const verdict = OK;",
  ),
  {
    name: "two-changes-at-once",
    bug: "a membership change is proposed while another is pending",
    edits: [
      {
        file: "raft/reconfiguration.ts",
        find: "if (r.pendingConfIndex > applied) {",
        replace: "if (r.pendingConfIndex > applied + 1_000_000) {",
      },
      {
        file: "replica/replica.ts",
        find: "return pendingConfIndex <= applied && confState.votersOutgoing.length === 0;",
        replace: "return pendingConfIndex >= 0 && applied >= 0 && confState.votersOutgoing.length === 0;",
      },
    ],
  },
  plant(
    "joint-commit-by-one-half",
    "in a joint configuration the incoming majority alone commits",
    JOINT,
    "return Math.min(this.incoming.committedIndex(acked), this.outgoing.committedIndex(acked));",
    "return this.incoming.committedIndex(acked);",
  ),
  plant(
    "joint-election-by-one-half",
    "in a joint configuration the incoming majority alone elects",
    JOINT,
    "if (incoming === outgoing) return incoming;",
    "if (incoming === outgoing || this.outgoing.size > 0) return incoming;",
  ),
  plant(
    "joint-never-left",
    "the leader does not leave a joint configuration",
    "raft/reconfiguration.ts",
    "if (!autoLeave || r.role !== Role.Leader",
    "if (!autoLeave || r.term > 0 || r.role !== Role.Leader",
  ),
  plant(
    "removed-member-leaves-at-once",
    "a removed member exits before others know that its removal is committed",
    "replica/removal.ts",
    "return 2 * (voters.length - open) >= voters.length",
    "return open >= 0",
  ),
  plant(
    "applied-change-forgotten",
    "a membership change is applied without its commit index going to the disk",
    "replica/replica.ts",
    "snapshot: null, mustSync: true }, () => {\n      this.unsettledChanges--;",
    "snapshot: null, mustSync: false }, () => {\n      this.unsettledChanges--;",
  ),
  plant(
    "refused-change-applied",
    "a membership change that the roster refused still changes the core's configuration",
    "replica/machines.ts",
    "if (confChange !== null) return this.membership.apply(data, at);",
    "if (confChange !== null) return { ...this.membership.apply(data, at), confChange };",
  ),
  plant(
    "configuration-kept-after-snapshot",
    "installing a snapshot leaves the old configuration in force",
    "raft/snapshot.ts",
    "  r.adoptSaved(confState, index);",
    "  if (confState.voters.length === 0) r.adoptSaved(confState, index);",
  ),
  plant(
    "snapshot-without-learners",
    "a snapshot's configuration lists learners as voters",
    "replica/applier.ts",
    "confState: this.options.confState() };",
    "confState: { ...this.options.confState(), voters: [...this.options.confState().voters, ...this.options.confState().learners].sort((a, b) => (a < b ? -1 : 1)), learners: [] } };",
  ),
  plant(
    "snapshot-without-requests",
    "a snapshot leaves out the remembered requests",
    ROSTER,
    "outcomes: this.requests.all(),",
    "outcomes: [],",
  ),
  plant(
    "removed-member-restored",
    "restoring a snapshot brings back the members of remembered outcomes",
    ROSTER,
    "if (outcome.member !== undefined) record(outcome.member);",
    "if (outcome.member !== undefined) roster.put(record(outcome.member), state.revision);",
  ),
  plant(
    "revision-lost-in-snapshot",
    "restoring a snapshot sets the revision back",
    ROSTER,
    "roster.currentRevision = state.revision;",
    "roster.currentRevision = 0;",
  ),
  plant(
    "removed-voter-stays-a-learner",
    "a removed voter stays in the core's configuration as a learner",
    "raft/confchange/changer.ts",
    "        case ConfChangeType.Remove:\n          remove(draft, nodeId);",
    "        case ConfChangeType.Remove:\n          this.makeLearner(draft, nodeId);",
  ),
  plant(
    "list-of-members-not-renewed",
    "the list of members that readers get is not renewed when a URL changes",
    ROSTER,
    "    this.sortedMembers = null;\n    if (event !== null) this.note(",
    "    if (this.byId.size !== this.sortedMembers?.length) this.sortedMembers = null;\n    if (event !== null) this.note(",
  ),
  plant(
    "repeat-puts-the-member-back",
    "a repeated request puts the member back as it was then, without a revision",
    ROSTER,
    "    for (const effect of judged.effects) this.perform(effect, command, entry.index);",
    "    for (const effect of judged.effects) this.perform(effect, command, entry.index);\n    const was = judged.decision.accepted && judged.decision.repeated ? judged.decision.member : null;\n    if (was !== null && this.byId.get(was.id)?.learner === was.learner) {\n      this.put(was, entry.index);\n      this.sortedMembers = null;\n    }",
    "one_roster",
  ),
  plant(
    "removed-member-stays-listed",
    "a removed member stays in the roster",
    ROSTER,
    "this.byId.delete(member.id);",
    "",
  ),
  plant(
    "update-makes-a-voter",
    "changing a learner's peer URL makes it a voter in the roster",
    "roster/rules.ts",
    "record({ ...found, peerUrls: [newPeerUrl], updateRevision: index }),",
    "record({ ...found, peerUrls: [newPeerUrl], learner: false, updateRevision: index }),",
  ),
  plant(
    "apply-reads-a-clock",
    "apply takes the time of a removal from the member's own clock",
    "roster/verdict.ts",
    "const tombstone = { id: member.id, name: member.name, revision: index, timeMs };",
    "const tombstone = { id: member.id, name: member.name, revision: index, timeMs: timeMs + Math.floor(performance.now() * 1000) };",
  ),
  plant(
    "double-apply",
    "a repeated request is applied again",
    ROSTER,
    'const known = requestId === "" ? undefined : this.requests.find(requestId);',
    'const known = requestId === "" || requestId.startsWith("r") ? undefined : this.requests.find(requestId);',
    "repeated_requests",
  ),
];
