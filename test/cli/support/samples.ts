/** Answers of the leader of a cluster of three members. */
import { MemberRole, MemberTarget } from "../../../src/client";
import {
  AddMemberResponse,
  GetClusterResponse,
  GetMembersResponse,
  QuorumStep,
} from "../../../src/generated/muster/v1/membership_service";
import { Member } from "../../../src/generated/muster/v1/member";

export const header = {
  clusterId: "c0ffee",
  memberId: "a1",
  revision: 9007199254740993n,
  raftTerm: 4n,
  leaderId: "a1",
};

export const n1 = Member.create({
  id: "a1",
  name: "n1",
  peerUrls: ["http://127.0.0.1:7461"],
  adminUrls: ["http://127.0.0.1:7460"],
  role: MemberRole.VOTER,
  started: true,
  createRevision: 1n,
  updateRevision: 9007199254740993n,
});
export const n2 = Member.create({
  id: "b2b2b2b2b2b2b2b2",
  name: "rack-2.n2",
  peerUrls: ["http://127.0.0.1:7471"],
  adminUrls: ["http://127.0.0.1:7470", "http://10.0.0.2:7470"],
  role: MemberRole.VOTER,
  started: true,
});
export const n3 = Member.create({
  id: "c3",
  name: "n3",
  peerUrls: ["http://127.0.0.1:7481"],
  role: MemberRole.LEARNER,
  target: MemberTarget.STANDBY,
  started: false,
});

export const members = GetMembersResponse.create({ header, members: [n1, n2, n3] });

export const cluster = GetClusterResponse.create({
  header,
  members: [
    { member: n1, isLeader: true, matchIndex: 20n, lagEntries: 0n, reachable: true, version: "0.1.0" },
    {
      member: n2,
      matchIndex: 18n,
      lagEntries: 2n,
      lastContact: { seconds: 0n, nanos: 40_500_000 },
      reachable: true,
      version: "0.1.0",
    },
    { member: n3, matchIndex: 0n, lagEntries: 20n, reachable: false },
  ],
  quorumSize: 2,
  failuresTolerated: 0,
  failuresToleratedKnown: true,
  commitIndex: 20n,
  appliedIndex: 20n,
});

export const n4 = Member.create({
  id: "d4",
  name: "n4",
  peerUrls: ["http://127.0.0.1:7491"],
  role: MemberRole.LEARNER,
  target: MemberTarget.VOTER,
});

export const added = AddMemberResponse.create({
  header,
  member: n4,
  members: [n1, n4],
});

/** The steps of a change, as [description, voters, quorum, may fail]. */
export function steps(...rows: [string, number, number, number][]): QuorumStep[] {
  return rows.map(([description, voters, quorumSize, failuresTolerated]) =>
    QuorumStep.create({ description, voters, quorumSize, failuresTolerated }),
  );
}
