/** Reports the actions of a member's parts to the checkers, by wrapping a few methods of each instance. */
import type { Cluster } from "../../src/cluster/assemble";
import type { PendingSubmission } from "../../src/cluster/leader/submissions";
import { PublishRequest, PublishResponse } from "../../src/generated/muster/raft/v1/raft_service";
import {
  MembershipServiceService,
  UpdateMemberRequest,
} from "../../src/generated/muster/v1/membership_service";
import { parseId } from "../../src/roster/index";
import type { Roster, RosterCommand } from "../../src/roster/index";
import type { CoverageRow } from "./coverage";
import type { Storage } from "../../src/storage/storage";
import type { Member } from "./member";
import type { WriteBody, WriteOperation } from "./operations";
import { Violation } from "./violation";

export function watchStorage(member: Member, storage: Storage): void {
  const { host, world } = member;
  const append = storage.append.bind(storage);
  storage.append = (batch, done) => {
    world.checkers.appended(member, batch);
    append(batch, (error) => {
      if (error === null) {
        host.durable.apply(batch, (index, term) => {
          world.checkers.cut(member, index, term);
        });
      }
      done(error);
    });
  };
  const saveSnapshot = storage.saveSnapshot.bind(storage);
  storage.saveSnapshot = (snapshot, keepEntries, done) => {
    world.coverage.add("snapshot taken");
    world.checkers.snapshot(member, snapshot);
    saveSnapshot(snapshot, keepEntries, (error) => {
      if (error === null) member.snapshots++;
      done(error);
    });
  };
}

export function watchCluster(member: Member, cluster: Cluster): void {
  watchRoster(member, cluster.rosterMachine.roster);
  const { rosterMachine } = cluster;
  const restore = rosterMachine.restore.bind(rosterMachine);
  rosterMachine.restore = (state, index) => {
    const put = restore(state, index);
    return () => {
      put();
      watchRoster(member, rosterMachine.roster);
    };
  };
  watchSubmissions(member, cluster);
  watchPublish(member, cluster);
  watchProposals(member, cluster);
}

function watchRoster(member: Member, roster: Roster): void {
  const apply = roster.apply.bind(roster);
  roster.apply = (entry) => {
    const before = { members: roster.members(), settings: roster.settings, revision: roster.revision };
    const result = apply(entry);
    member.world.checkers.applied(member, entry, result, roster, before);
    return result;
  };
}

/** Reports the leader's answers to writes. */
function watchSubmissions(member: Member, { submissions, replica }: Cluster): void {
  const { world } = member;
  const submit = submissions.submit.bind(submissions);
  submissions.submit = (submission) => {
    const pending = submit(submission);
    const { requestId } = submission.command;
    if (requestId === "") {
      recordOwn(member, replica, submission.command, pending);
      return pending;
    }
    if ((world.submitted.get(requestId) ?? 0) > 0) world.coverage.add("write proposed again");
    if (world.refused.has(requestId)) world.coverage.add("late attempt of a refused write");
    world.submitted.set(requestId, (world.submitted.get(requestId) ?? 0) + 1);
    void pending.outcome.then((outcome) => {
      if (outcome.kind === "refused") world.coverage.add("product: admission or apply refused");
      if (outcome.kind === "retry" && outcome.because !== null)
        world.coverage.add("product: admission turned away");
      if (outcome.kind !== "done" || submission.validateOnly) return;
      world.coverage.add("product: admission let a write in");
      const { revision, changed, repeated, member: record } = outcome.value;
      if (repeated) world.coverage.add("repeat answered from memory");
      world.decided.set(requestId, record?.updateRevision ?? 0);
      if (changed) world.checkers.acknowledged(member, requestId, revision, replica.applied);
    });
    return pending;
  };
}

/** Records what the leader does by itself in the history, like the call of a client. */
function recordOwn(
  member: Member,
  { roster }: Cluster["replica"],
  command: RosterCommand,
  { outcome: ended }: PendingSubmission,
): void {
  const { world } = member;
  const body = bodyOf(command, (id) => roster.member(id)?.name ?? "");
  if (body === null) return;
  world.moments.come("steward", member);
  const recorded = world.history.invoke({ body, requestId: "", expectedRevision: 0, validateOnly: false });
  void ended.then((outcome) => {
    if (outcome.kind === "unknown") world.history.unknown(recorded);
    // Nothing of it is in a log, or apply refused it.
    else if (outcome.kind !== "done") world.history.refused(recorded, "NOT_PROPOSED", true);
    else {
      const { revision, changed, member: record } = outcome.value;
      if (changed) world.coverage.add(ownRow(command));
      try {
        world.history.wrote(recorded, { revision, member: record });
      } catch (error) {
        if (!(error instanceof Violation)) throw error;
        world.fail(error);
      }
    }
  });
}

/** The change as a client would ask for it; null for what the leader never does by itself. */
function bodyOf({ body }: RosterCommand, nameOf: (id: bigint) => string): WriteBody | null {
  const named = (selectors: readonly { readonly id: bigint }[]) => selectors.map(({ id }) => nameOf(id));
  switch (body?.$case) {
    case "promoteMember":
      return { rpc: "PromoteMember", name: nameOf(body.value.member?.id ?? 0n) };
    case "removeMember":
      return { rpc: "DeleteMember", name: nameOf(body.value.member?.id ?? 0n) };
    case "changeMembers": {
      const { promote, demote, standBy, remove } = body.value;
      const demoted = [...named(demote), ...named(standBy)];
      return { rpc: "ChangeMembers", promote: named(promote), demote: demoted, remove: named(remove) };
    }
    default:
      return null;
  }
}

function ownRow({ body }: RosterCommand): CoverageRow {
  if (body?.$case === "promoteMember") return "learner promoted by the leader";
  if (body?.$case !== "changeMembers") return "unstarted member removed by the leader";
  return body.value.standBy.length > 0 ? "standby took over" : "replacement finished by the leader";
}

/** Records a member's publish in the history, like the call of a client. */
function watchPublish(member: Member, { writes, replica }: Cluster): void {
  const { world } = member;
  const execute = writes.execute.bind(writes);
  writes.execute = async (request, call) => {
    if (call.method !== "Publish") return execute(request, call);
    const forward = request.forward();
    if (forward.path === MembershipServiceService.updateMember.path) {
      recordMove(member, UpdateMemberRequest.decode(forward.body));
      return execute(request, call);
    }
    const { memberId, adminUrls, requestId } = PublishRequest.decode(forward.body);
    if (memberId !== replica.id) return execute(request, call);
    const name = replica.roster.member(memberId)?.name ?? "";
    const operation: WriteOperation = {
      body: { rpc: "Publish", name, adminUrl: adminUrls[0] ?? "" },
      requestId,
      expectedRevision: 0,
      validateOnly: false,
    };
    const recorded = world.history.invoke(operation);
    try {
      const answer = await execute(request, call);
      if (member.alive) {
        const { revision } = Buffer.isBuffer(answer)
          ? PublishResponse.decode(answer)
          : (answer as PublishResponse);
        world.history.published(recorded, revision, world.decided.get(requestId) ?? 0);
        member.host.publishedAt ??= revision;
      }
      return answer;
    } catch (error) {
      // The publish itself may be done, and the change of the peer URL that follows it refused.
      world.history.unknown(recorded);
      throw error;
    }
  };
}

/** The roster follows a member that moved, now or later: the history has it as a call of unknown outcome. */
function recordMove({ world, replica }: Member, { id, newPeerUrl, requestId }: UpdateMemberRequest): void {
  const memberId = parseId(id) ?? 0n;
  const known = replica.roster.member(memberId);
  // A repeated try is the same call: from one address it takes effect once.
  const key = `${id} ${known?.peerUrls.join() ?? ""} ${newPeerUrl}`;
  if (world.moved.has(key)) return;
  world.moved.add(key);
  const name = known?.name ?? "";
  const body = { rpc: "UpdateMember" as const, name, id: memberId, peerUrl: newPeerUrl };
  const operation: WriteOperation = { body, requestId, expectedRevision: 0, validateOnly: false };
  world.coverage.add("roster follows a member that moved");
  world.history.unknown(world.history.invoke(operation));
}

/** Reports each membership change when a leader proposes it. */
function watchProposals(member: Member, { replica }: Cluster): void {
  const propose = replica.proposeConfChange.bind(replica);
  replica.proposeConfChange = (proposalId, change, settle) => {
    const result = propose(proposalId, change, settle);
    if (result.ok) member.world.checkers.changeProposed(member, change);
    return result;
  };
}
