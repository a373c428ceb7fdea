/** What other members may do to this one: a stale, forged or rolled-back member among healthy ones, on real sockets. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { RaftServiceService } from "../../src/generated/muster/raft/v1/raft_service";
import type { ExchangeRequest, ExchangeResponse } from "../../src/generated/muster/raft/v1/raft_service";
import { MessageType } from "../../src/raft/index";
import { toGrpcStatus } from "../../src/rpc/grpc_status";
import { refusalError } from "../../src/rpc/rpc_error";
import { ListLog } from "../replica/support/list_log";
import { copyDataDir } from "../storage/support/copy_data_dir";
import { TestCluster, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import { PeerStream, strangersHandshake } from "./support/peer";

jest.setTimeout(60_000);

let cluster: TestCluster;
const logs = new Map<string, ListLog>();

async function start(size: number): Promise<void> {
  logs.clear();
  cluster = await TestCluster.start(size, {
    depsOf: (name) => {
      const log = new ListLog();
      logs.set(name, log);
      return { log };
    },
  });
}

afterEach(() => cluster.stop());

const linesOf = (member: TestMember, text: string) =>
  (logs.get(member.name)?.texts ?? []).filter((line) => line.includes(text));

/** A handshake of `as` to `to`, as the real one sends it. */
const handshakeAs = (as: TestMember, to: TestMember) =>
  strangersHandshake(to, {
    memberId: as.replica.id,
    instanceId: Buffer.from(as.roster.member(as.replica.id)?.instanceId ?? []),
    peerUrl: as.config.peerUrl,
  });

/** In place of a stopped member: refuses every stream with this reason. @returns who was refused, and what ends it */
async function refuseAll(url: string, reason: "MEMBER_WIPED" | "MEMBER_REMOVED") {
  const refused: bigint[] = [];
  const server = new Server();
  server.addService(
    { exchange: RaftServiceService.exchange },
    {
      exchange: (call: ServerDuplexStream<ExchangeRequest, ExchangeResponse>) => {
        call.on("data", ({ handshake }: ExchangeRequest) => {
          if (handshake !== undefined) refused.push(handshake.memberId);
          call.emit("error", toGrpcStatus(refusalError({ reason, message: `says ${reason}`, metadata: {} })));
        });
      },
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(new URL(url).host, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
  return { refused, stop: () => server.forceShutdown() };
}

test.each(["MEMBER_WIPED", "MEMBER_REMOVED"] as const)(
  "one stale member that tells two serving ones %s ends neither of them",
  async (reason) => {
    await start(3);
    const [stale] = await cluster.followers();
    if (stale === undefined) throw new Error("no follower");
    await stale.stop();
    const fake = await refuseAll(stale.config.peerUrl, reason);
    try {
      const serving = cluster.running;
      const heard = ({ replica }: TestMember) => fake.refused.filter((id) => id === replica.id).length >= 3;
      await until("both were refused several times", () => serving.every(heard));
      const leader = await cluster.leader();
      await leader.updateAdminUrl({ name: stale.name, adminUrls: ["http://127.0.0.1:9"] });
      for (const member of serving) {
        expect(member.server?.phase).toBe("running");
        const said = linesOf(member, `says ${reason}`);
        expect(said).toHaveLength(1);
        expect(said[0]).toMatch(/member n\d .*Either it is right .* or it has an older or damaged copy/);
      }
    } finally {
      fake.stop();
    }
  },
);

test("4,000 heartbeats, each 2^20 above the last: the member comes back, also after a restart", async () => {
  await start(3);
  const leader = await cluster.leader();
  const [victim, other] = await cluster.followers();
  if (victim === undefined || other === undefined) throw new Error("no followers");
  const stream = await new PeerStream(victim, handshakeAs(other, victim)).untilAccepted();
  const { term } = victim.replica;
  for (let i = 1; i <= 4000; i += 100) {
    const beats = Array.from({ length: 100 }, (_, j) => ({
      type: MessageType.Heartbeat,
      term: term + (i + j) * 2 ** 20,
    }));
    stream.send(...beats);
  }
  await until("a heartbeat far ahead was taken", () => victim.replica.term >= term + 2 ** 20);
  stream.close();
  await until("all follow one leader in a term beyond", async () => {
    const now = await cluster.leader();
    return (
      now.replica.term > term + 2 ** 20 && cluster.running.every((m) => m.replica.term === now.replica.term)
    );
  });
  await victim.stop();
  await victim.start();
  await cluster.settled();
  await leader.updateAdminUrl({ name: leader.name, adminUrls: ["http://127.0.0.1:9"] });
  await cluster.agreed();
});

test("an append that contradicts a committed entry ends the member that has it, with 9 and what to do", async () => {
  await start(3);
  const leader = await cluster.leader();
  const [victim, other] = await cluster.followers();
  if (victim === undefined || other === undefined) throw new Error("no followers");
  const stream = await new PeerStream(victim, handshakeAs(other, victim)).untilAccepted();
  const term = victim.replica.term + 1;
  stream.send({ type: MessageType.Append, term, index: 3, logTerm: term, commit: 3 });
  expect(await victim.ended()).toBe(9);
  stream.close();
  expect(linesOf(victim, "this member can't go on")).toHaveLength(1);
  expect(cluster.running).toHaveLength(2);
  await leader.updateAdminUrl({ name: leader.name, adminUrls: ["http://127.0.0.1:9"] });
});

/** The member's list of its starts is that of the newer one, or the copy would be refused before its log is looked at. */
test("a log rolled back to an older copy: the leader refuses the member, says so, and shows it out of contact", async () => {
  await start(3);
  const leader = await cluster.leader();
  const [victim] = await cluster.followers();
  if (victim === undefined) throw new Error("no follower");
  const { dataDir } = victim.config;
  const copy = `${dataDir}-copy`;
  await victim.stop();
  copyDataDir(dataDir, copy);
  await victim.start();
  await cluster.settled();
  for (let i = 1; i <= 20; i++)
    await leader.updateAdminUrl({ name: leader.name, adminUrls: [`http://127.0.0.1:${String(i)}`] });
  await cluster.agreed();
  await victim.stop();
  const boots = readFileSync(join(dataDir, "boots"));
  rmSync(dataDir, { recursive: true });
  copyDataDir(copy, dataDir);
  writeFileSync(join(dataDir, "boots"), boots);
  await victim.start();
  const { id } = victim.replica;
  await until("the leader noticed", () => linesOf(leader, "ends before what it had acknowledged").length > 0);
  await until("the member noticed", () => linesOf(victim, "entries that its log does not have").length > 0);
  await until("the member hears why", () => linesOf(victim, "refuses this one").length > 0);
  await until("it is out of contact", async () => {
    const { members } = await leader.getCluster();
    return members.find(({ member }) => member?.id === id.toString(16))?.reachable === false;
  });
  // One peer's word ends nobody.
  expect(victim.server?.phase).toBe("running");
  expect(await new PeerStream(leader, handshakeAs(victim, leader)).refused()).toMatchObject({
    reason: "MEMBER_ROLLED_BACK",
    metadata: { name: victim.name },
  });
});

test("a member whose roster is not the leader's stops with 9", async () => {
  await start(3);
  const leader = await cluster.leader();
  const [victim] = await cluster.followers();
  const digests = victim?.roster.digests;
  if (victim === undefined || digests == null) throw new Error("no follower with digests");
  digests["sum"] += 1n;
  const { running } = victim;
  await leader.updateAdminUrl({ name: leader.name, adminUrls: ["http://127.0.0.1:9"] });
  expect([await victim.ended(), running.endedBy]).toEqual([9, "diverged"]);
  // Its directory is whole: the next start computes the roster anew.
  await victim.start();
  await cluster.settled();
});
