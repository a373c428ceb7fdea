/** Planted bugs: what the leader does by itself, replacements, and changes of several members. */
import { plant } from "./plant";
import type { Plant } from "./plant";

const STEWARD = "cluster/leader/steward.ts";
const TASKS = "cluster/leader/steward_tasks.ts";
const READINESS = "cluster/leader/readiness.ts";
const RULES = "roster/rules.ts";
const REPLACEMENTS = "roster/replacements.ts";
const CHECK = "cluster/leader/change_check.ts";

export const STEWARD_PLANTS: readonly Plant[] = [
  plant(
    "promoted-behind-the-change",
    "a learner is promoted that lacks the newest membership change",
    READINESS,
    "} else if (!holdsNewestChange) missing",
    "} else if (!holdsNewestChange && lagEntries < 0) missing",
  ),
  plant(
    "promoted-out-of-contact",
    "a learner is promoted that the leader is not in contact with any more",
    READINESS,
    'if (inContactTicks === null) missing.push("the leader is not in contact with it");',
    "",
  ),
  plant(
    "promoted-before-its-start",
    "a learner is promoted that has not published itself",
    READINESS,
    'if (!started) missing.push("it has not started");',
    "",
  ),
  plant(
    "joint-promotion-not-checked",
    "a change of several promotes learners that are not ready",
    CHECK,
    "for (const learner of promoted) {",
    "for (const learner of promoted.slice(1)) {",
  ),
  plant(
    "auto-promote-not-asked",
    "the leader promotes learners although it is told not to",
    TASKS,
    "if (view.roster.settings.autoPromote) yield* promotions(view);",
    "yield* promotions(view);",
  ),
  plant(
    "promotion-not-fenced",
    "the leader's own promotion is not bound to the settings that it saw",
    TASKS,
    "promoteMemberCommand({ ...envelope, settingsRevision },",
    "promoteMemberCommand({ ...envelope },",
  ),
  plant(
    "removal-not-fenced",
    "the removal of a member that never started is not bound to the roster that the leader saw",
    TASKS,
    "{ ...envelope, note, expectedRevision: roster.revision },\n          { member: named(member)",
    "{ ...envelope, note },\n          { member: named(member)",
  ),
  plant(
    "steward-signs-nothing",
    "what the leader does by itself has no caller in the history",
    STEWARD,
    "caller: STEWARD });",
    'caller: "" });',
  ),
  plant(
    "steward-stays-busy",
    "a task that the leader lost leadership with is never taken for ended",
    STEWARD,
    "      this.busy = false;",
    '      this.busy = outcome.kind === "retry" || outcome.kind === "unknown";',
  ),
  {
    name: "takeover-at-once",
    bug: "a standby takes a voter's place as soon as the voter is out of contact",
    edits: [
      { file: TASKS, find: "if (away < afterTicks) continue;", replace: "if (away === 0) continue;" },
      {
        file: TASKS,
        find: "holds: () => observed.outOfContactTicks(voter.id) >= afterTicks,",
        replace: "",
      },
    ],
  },
  plant(
    "takeover-without-a-vote",
    "the dead voter becomes a standby, and the standby no voter",
    TASKS,
    "{ promote: [named(standby)], demote: [], remove: [], standBy: [named(voter)] }",
    "{ promote: [], demote: [], remove: [], standBy: [named(voter)] }",
  ),
  plant(
    "swapped-voter-becomes-a-learner",
    "a voter whose place was taken is to become a voter again, at once",
    RULES,
    'const target = what === "standBy" ? STANDBY : LEARNER;',
    'const target = what === "standBy" ? UNSPECIFIED : LEARNER;',
  ),
  plant(
    "unstarted-voter-removed",
    "a voter that has not started is removed like a learner",
    TASKS,
    "if (!member.learner || member.started",
    "if (member.started",
  ),
  plant(
    "old-member-leaves-first",
    "a replacement removes the old voter, and promotes the new member later",
    TASKS,
    "const promote = member.learner && !old.learner ? [named(member)] : [];",
    "const promote = member.learner && !old.learner && member.started === false ? [named(member)] : [];",
  ),
  plant(
    "replaced-twice",
    "a member that is being replaced may be replaced by another one too",
    REPLACEMENTS,
    "if (replacement !== null) return refuseReplacement(replacement, found);",
    "",
  ),
  plant(
    "replacement-forgotten-at-its-start",
    "a member that publishes itself does not replace another any more",
    RULES,
    "record({ ...found, ...boot, started: true,",
    "record({ ...found, ...boot, replaces: 0n, started: true,",
  ),
  plant(
    "replacement-of-nobody",
    "a member goes on to replace one that was removed",
    REPLACEMENTS,
    "  if (removed.size === 0) return effects;",
    "  if (removed.size <= 1) return effects;",
  ),
  plant(
    "target-kept-by-a-voter",
    "a learner that is promoted keeps its target",
    RULES,
    "  const target = MemberTarget.UNSPECIFIED;\n",
    "  const { target } = found;\n",
  ),
  {
    name: "replaced-under-the-same-id",
    bug: "the member that takes a place over gets the id of the one before, with an empty log",
    edits: [
      {
        file: "services/membership.ts",
        find: "const id = this.chooseId(backend.replica, newName, peerUrl);",
        replace:
          'const id = old.ok && (newName === "" || newName === oldName) ? old.member.id : this.chooseId(backend.replica, newName, peerUrl);',
      },
      {
        file: RULES,
        find: "if (roster.member(add.id) !== null || roster.tombstone(add.id) !== null) {",
        replace:
          "if (leaving?.id !== add.id && (roster.member(add.id) !== null || roster.tombstone(add.id) !== null)) {",
      },
    ],
  },
  plant(
    "replaced-while-in-contact",
    "a member that answers loses its place to another with an empty disk",
    CHECK,
    '      if (contact.kind !== "ok") return contact;\n      return target.learner',
    '      if (contact.kind === "wait") return contact;\n      return target.learner',
  ),
  plant(
    "settings-lost-in-snapshot",
    "a snapshot leaves out the settings",
    "roster/roster.ts",
    "settings: this.changedSettings ?? undefined,",
    "settings: undefined,",
  ),
  plant(
    "joint-left-by-its-own-leader-only",
    "a joint configuration that another leader entered is never left",
    "raft/reconfiguration.ts",
    "r.log.applied < r.pendingConfIndex) return;",
    "r.log.applied < r.pendingConfIndex || r.log.term(r.pendingConfIndex) !== r.term) return;",
  ),
  plant(
    "demoted-voter-gone-after-the-joint-change",
    "a voter that a joint change demotes is gone from the core's configuration when it is left",
    "raft/confchange/changer.ts",
    "new Set([...learners, ...learnersNext]),",
    "new Set([...learners]),",
  ),
  plant(
    "empty-log-led-by-steps",
    "a member with an empty log takes a far term by steps only",
    "replica/term_leaps.ts",
    "if ((empty || own === 0) &&",
    "if (!empty && own === 0 &&",
  ),
];
