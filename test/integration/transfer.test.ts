/** TransferLeadership over the wire: at any member, and with the refusals of members that can't lead. */
import { status } from "@grpc/grpc-js";
import { TestCluster, callUnary, refusal, until } from "./support/cluster";
import type { CallOptions, TestMember } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
let leader: TestMember;
beforeAll(async () => {
  cluster = await TestCluster.start(4);
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  leader = await cluster.stable();
});

const transfer = (member: TestMember, request: { name?: string; id?: string } = {}, options?: CallOptions) =>
  callUnary(
    member.client.transferLeadership.bind(member.client),
    { name: request.name ?? "", id: request.id ?? "" },
    options,
  );

async function others(): Promise<[TestMember, TestMember]> {
  const [a, b] = await cluster.followers();
  if (a === undefined || b === undefined) throw new Error("no followers");
  return [a, b];
}

test("at a follower: the answer comes when the target leads", async () => {
  const [follower, target] = await others();
  const { leader: led } = await transfer(follower, { name: target.name });
  expect(led?.name).toBe(target.name);
  await until("the others know", () => follower.replica.leader === target.replica.id);
  expect(leader.replica.isLeader).toBe(false);
});

test("to the target itself, and to nobody in particular", async () => {
  const [target] = await others();
  expect((await transfer(target, { id: target.id })).leader?.id).toBe(target.id);
  await cluster.stable();
  const { leader: led } = await transfer(target);
  expect(led?.id).not.toBe(target.id);
});

test("form and unknown members are refused with their reasons", async () => {
  await refusal(transfer(leader, { id: "xyz" }), status.INVALID_ARGUMENT, "INVALID_REQUEST");
  await refusal(transfer(leader, { name: "n99" }), status.NOT_FOUND, "MEMBER_NOT_FOUND");
});

test("a forbidden forward is NOT_LEADER", async () => {
  const [follower] = await others();
  const metadata = { "muster-forward": "never" };
  await refusal(transfer(follower, {}, { metadata }), status.FAILED_PRECONDITION, "NOT_LEADER");
});

test("a member that is down: TRANSFER_FAILED, and the leader of before takes writes", async () => {
  const [follower, target] = await others();
  const { name } = target;
  await target.stop();
  await until("out of contact", async () => {
    const { members } = await leader.getCluster();
    return members.some((entry) => entry.member?.name === name && entry.reachable === false);
  });
  const { details } = await refusal(
    transfer(follower, { name }),
    status.FAILED_PRECONDITION,
    "TRANSFER_FAILED",
  );
  expect(details).toContain(name);
  await leader.updateAdminUrl({
    name: leader.name,
    adminUrls: [leader.config.adminUrl, "http://127.0.0.1:1"],
  });
  expect(leader.replica.isLeader).toBe(true);
  await target.start();
});

test("a removed member: MEMBER_REMOVED", async () => {
  const [, gone] = await others();
  await leader.deleteMember({ name: gone.name });
  await refusal(transfer(leader, { name: gone.name }), status.NOT_FOUND, "MEMBER_REMOVED");
  cluster.forget(gone);
  await gone.ended();
});
