/** Members that change their addresses, on real processes: no accepted call costs the quorum, and there is a way there. */
import { MusterError } from "../../src/client";
import { ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";
import type { MemberProcess } from "./support/process_cluster";
import { withCluster } from "./support/process_cluster";

beforeAll(ensureBuilt);
afterAll(killLeftovers);

async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "accepted";
  } catch (error) {
    return error instanceof MusterError ? (error.reason ?? error.label) : String(error);
  }
}

/** It does not answer there yet, or the leader is changing. */
const TRANSIENT = ["UNHEALTHY_CLUSTER", "NOT_PROPOSED", "NO_LEADER", "SERVER_STOPPING"];

/** Starts the member at another peer URL, and tells the cluster once it answers there. */
async function moveTo(member: MemberProcess, peerUrl: string, by: MemberProcess): Promise<void> {
  await member.stop();
  member.spec = { ...member.spec, peerUrl };
  member.start();
  const request = { name: member.name, newPeerUrl: peerUrl };
  await until(`${member.name} is moved`, async () => {
    const reason = await reasonOf(by.client.updateMember(request));
    if (reason !== "accepted" && !TRANSIENT.includes(reason)) throw new Error(reason);
    return reason === "accepted";
  });
}

test(
  "a script that updates all URLs first is refused and loses nothing; member by member all of them move",
  () =>
    withCluster(3, async (cluster) => {
      const base = await freePortBlock([0, 1, 2]);
      const urlOf = (i: number): string => `http://127.0.0.1:${base + i}`;
      const leader = await cluster.leader();
      const reasons: string[] = [];
      for (const [i, { name }] of cluster.members.entries())
        reasons.push(await reasonOf(leader.client.updateMember({ name, newPeerUrl: urlOf(i) })));
      expect(reasons).toEqual(Array(3).fill("UNHEALTHY_CLUSTER"));
      await cluster.ready();
      for (const [i, member] of cluster.members.entries()) {
        const others = cluster.members.filter((other) => other !== member);
        const [by] = others;
        if (by === undefined) throw new Error("no other member");
        await moveTo(member, urlOf(i), by);
        await cluster.ready();
      }
      const { members } = await cluster.members[0]!.members();
      const urls = new Map(members.map(({ name, peerUrls }) => [name, peerUrls]));
      expect(cluster.members.map(({ name }) => urls.get(name))).toEqual([0, 1, 2].map((i) => [urlOf(i)]));
      await cluster.members[2]!.client.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"] });
    }),
  120_000,
);

test(
  "a URL that no HTTP client can read does not end the only member",
  () =>
    withCluster(1, async (cluster) => {
      const [alone] = cluster.members;
      if (alone === undefined) throw new Error("no member");
      const add = { name: "n2", peerUrl: "http://xn--a:7491" };
      expect(await reasonOf(alone.client.addMember(add))).toBe("INVALID_REQUEST");
      const dead = { name: "n2", peerUrl: "http://xn--bcher-kva.invalid:7491" };
      // Nobody answers there, and the leader tries all the same: it goes on, and the quorum is its own.
      await alone.client.addMember(dead);
      await alone.client.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"] });
      await alone.client.deleteMember({ name: "n2" });
      expect((await alone.members()).members).toHaveLength(1);
      expect(alone.running).toBe(true);
    }),
  60_000,
);
