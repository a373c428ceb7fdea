/**
 * Members are exchanged on real processes under load, and no call of a client that follows the contract fails: one by one
 * by ReplaceMember, a whole data centre by ChangeMembers, a lost disk in place, and a dead voter by a standby.
 */
import { rmSync } from "node:fs";
import { MemberRole, MemberTarget } from "../../src/client";
import type { Member } from "../../src/client";
import { SteadyLoad, replaceMember, updateSettings } from "./support/steady_client";
import { ensureBuilt, killLeftovers, until } from "./support/processes";
import { withCluster } from "./support/process_cluster";
import type { MemberProcess, ProcessCluster } from "./support/process_cluster";

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

/** A member that never runs, and stays: what the load writes to. */
const TARGET = "target";
const REMOVED = { code: 8, signal: null };

async function underLoad(
  size: number,
  test: (cluster: ProcessCluster, load: SteadyLoad) => Promise<void>,
): Promise<void> {
  await withCluster(size, async (cluster) => {
    const [first] = cluster.members;
    if (first === undefined) throw new Error("no member");
    await first.client.addMember({
      name: TARGET,
      peerUrl: "http://127.0.0.1:1",
      target: MemberTarget.LEARNER,
    });
    const load = new SteadyLoad(
      cluster.members.map(({ endpoint }) => endpoint),
      TARGET,
    );
    load.start();
    try {
      await load.served();
      await test(cluster, load);
      await load.served();
    } finally {
      await load.stop();
    }
    expect(load.failures).toEqual([]);
    await cluster.settled();
  });
}

/** The members as the cluster has them, without the target of the load. */
async function membersOf(cluster: ProcessCluster): Promise<Member[]> {
  const leader = await cluster.leader();
  const { members } = await leader.members();
  return members.filter(({ name }) => name !== TARGET);
}
const votersOf = async (cluster: ProcessCluster): Promise<string[]> =>
  (await membersOf(cluster))
    .filter(({ role }) => role === MemberRole.VOTER)
    .map(({ name }) => name)
    .sort();

/** Waits until a running member has this in its roster. */
async function hasMember(
  cluster: ProcessCluster,
  what: string,
  is: (member: Member) => boolean,
): Promise<void> {
  await until(what, async () => {
    const all = await Promise.all(cluster.running.map((member) => member.cluster()));
    return all.some((answer) => answer?.members.some(({ member }) => member !== undefined && is(member)));
  });
}

test("all members of three are replaced one by one, with a wrong URL, a dead joiner and a dead leader in between", async () => {
  await underLoad(3, async (cluster, load) => {
    const begun = async (old: string, name: string, peerUrl?: string): Promise<MemberProcess> => {
      const joiner = await cluster.joiner(name);
      const url = peerUrl ?? joiner.spec.peerUrl;
      const { member } = await replaceMember(cluster, { name: old, newName: name, peerUrl: url });
      expect(member).toMatchObject({ name, role: MemberRole.LEARNER });
      return joiner;
    };
    const finished = async (old: MemberProcess, joiner: MemberProcess): Promise<void> => {
      expect(await old.process.end(60_000)).toEqual(REMOVED);
      await cluster.ready();
      expect(await votersOf(cluster)).toContain(joiner.name);
      expect(await votersOf(cluster)).toHaveLength(3);
      await load.served();
    };

    // A follower, at first by a wrong URL.
    const first = await cluster.follower();
    const m1 = await begun(first.name, "m1", "http://127.0.0.1:2");
    m1.start();
    // It waits to be added, and answers nothing itself.
    await cluster.member("n1").client.updateMember({ name: "m1", newPeerUrl: m1.spec.peerUrl });
    await finished(first, m1);

    // The leader, by a member that dies as soon as it has started.
    const leader = await cluster.leader();
    const m2 = await begun(leader.name, "m2");
    m2.start();
    await hasMember(cluster, "m2 has started", ({ name, started }) => name === "m2" && started);
    await m2.kill();
    await load.served();
    m2.start();
    await finished(leader, m2);

    // The last one of the first three, while the leader dies.
    const last = cluster.members.find((member) => /^n\d$/.test(member.name) && member.running);
    if (last === undefined) throw new Error("none of the first members is left");
    const m3 = await begun(last.name, "m3");
    const dead = await cluster.leader();
    await dead.kill();
    m3.start();
    if (dead !== last) {
      await hasMember(
        cluster,
        "m3 is a voter",
        ({ name, role }) => name === "m3" && role === MemberRole.VOTER,
      );
    }
    dead.start();
    await finished(last, m3);
    expect(await votersOf(cluster)).toEqual(["m1", "m2", "m3"]);
  });
}, 300_000);

test("a data centre moves in two steps, with a dead leader in between", async () => {
  await underLoad(3, async (cluster, load) => {
    const old = [...cluster.members];
    const fresh: MemberProcess[] = [];
    for (const name of ["m1", "m2", "m3"]) {
      const joiner = await cluster.joiner(name);
      const leader = await cluster.leader();
      await leader.client.addMember({ name, peerUrl: joiner.spec.peerUrl, target: MemberTarget.LEARNER });
      joiner.start();
      fresh.push(joiner);
    }
    await cluster.ready();
    const dead = await cluster.leader();
    await dead.kill();
    await load.served();
    dead.start();
    await cluster.ready();
    const names = (members: readonly MemberProcess[]) => members.map(({ name }) => ({ name }));
    const request = { promote: names(fresh), remove: names(old), requestId: "move" };
    let repeats = false;
    await until("the data centre is moved", async () => {
      const by = await cluster.leader();
      try {
        await by.client.changeMembers(request, { timeoutMs: 20_000, repeats });
        return true;
      } catch (error) {
        // Not ready: remembered under the request id, so the next attempt is another request.
        if (!String(error).includes("LEARNER_NOT_READY")) throw error;
        request.requestId += "+";
        repeats = false;
        return false;
      }
    });
    for (const member of old) expect(await member.process.end(60_000)).toEqual(REMOVED);
    await cluster.ready();
    expect(await votersOf(cluster)).toEqual(["m1", "m2", "m3"]);
    expect((await membersOf(cluster)).length).toBe(3);
  });
}, 240_000);

test("a standby takes over from a voter that was killed, which comes back as a standby", async () => {
  await underLoad(3, async (cluster) => {
    const standby = await cluster.joiner("s1");
    const leader = await cluster.leader();
    const add = { name: "s1", peerUrl: standby.spec.peerUrl, target: MemberTarget.STANDBY };
    await leader.client.addMember(add);
    standby.start();
    await cluster.ready();
    const { settings } = await updateSettings(cluster, { standbyTakeoverAfter: { seconds: 2n, nanos: 0 } });
    expect(settings).toMatchObject({ autoPromote: true, standbyTakeoverAfter: { seconds: 2n } });
    const dead = await cluster.leader();
    await dead.kill();
    await hasMember(
      cluster,
      "the standby votes",
      ({ name, role }) => name === "s1" && role === MemberRole.VOTER,
    );
    expect(await votersOf(cluster)).toEqual(["n1", "n2", "n3", "s1"].filter((name) => name !== dead.name));
    dead.start();
    await cluster.ready();
    const back = (await membersOf(cluster)).find(({ name }) => name === dead.name);
    expect(back).toMatchObject({ role: MemberRole.LEARNER, target: MemberTarget.STANDBY, started: true });
  });
}, 180_000);

test("a member that lost its disk is replaced in place, at the same address", async () => {
  await underLoad(3, async (cluster) => {
    const lost = await cluster.follower();
    const before = (await membersOf(cluster)).find(({ name }) => name === lost.name);
    await lost.kill();
    rmSync(lost.spec.dataDir, { recursive: true });
    let member: Member | undefined;
    await until("the leader is out of contact with it", async () => {
      try {
        ({ member } = await replaceMember(cluster, { name: lost.name }));
        return true;
      } catch (error) {
        // A refusal is final for its request id: the next attempt is another request.
        expect(String(error)).toContain("the leader is in contact with");
        return false;
      }
    });
    expect(member?.id).not.toBe(before?.id);
    lost.spec = { ...lost.spec, initialClusterState: "existing" };
    lost.start();
    await cluster.ready();
    const after = (await membersOf(cluster)).find(({ name }) => name === lost.name);
    expect(after).toMatchObject({ id: member?.id, role: MemberRole.VOTER, peerUrls: before?.peerUrls });
  });
}, 180_000);
