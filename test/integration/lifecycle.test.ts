/**
 * Start and end of members: restarts from disk, first starts that are refused, stopping, removal, a lost data directory,
 * another peer URL, and a failing disk.
 */
import { readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { credentials, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import {
  HealthCheckResponse_ServingStatus as Serving,
  HealthClient,
} from "../../src/generated/grpc/health/v1/health";
import type { HealthCheckResponse } from "../../src/generated/grpc/health/v1/health";
import { ConfigError } from "../../src/server/config";
import type { ServerConfig } from "../../src/server/config";
import { StartRefusedError } from "../../src/server/errors";
import type { StorageFs } from "../../src/storage/fs";
import { nodeFs } from "../../src/storage/node_fs";
import { TestCluster, callUnary, freePorts, readError, until, refusal } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
afterEach(() => cluster.stop());

async function twoFollowers(): Promise<[TestMember, TestMember]> {
  const [a, b] = await cluster.followers();
  if (a === undefined || b === undefined) throw new Error("no followers");
  return [a, b];
}

/** Starts a member whose start must fail. Settles with the error. */
async function refusedStart(member: TestMember, overrides: Partial<ServerConfig> = {}): Promise<Error> {
  try {
    await member.start(overrides);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    expect(error.message).not.toContain("\n");
    return error;
  }
  throw new Error("it started, but was to be refused");
}

const admin = (name: string, port: number) => ({ name, adminUrls: [`http://127.0.0.1:${String(port)}`] });

describe("restarts", () => {
  test("one at a time: roster, revision, tombstones and request memory are kept", async () => {
    cluster = await TestCluster.start(3);
    let leader = await cluster.stable();
    const request = { name: "n4", peerUrl: "http://127.0.0.1:1", requestId: "kept" };
    const added = await leader.addMember(request);
    await leader.deleteMember({ name: "n4" });
    const before = await leader.getMembers();
    const ids = cluster.members.map((member) => member.id);
    for (const member of cluster.members) {
      await member.stop();
      await cluster.leader();
      await member.start();
      await cluster.settled();
    }
    expect(cluster.members.map((member) => member.id)).toEqual(ids);
    leader = await cluster.leader();
    for (const member of cluster.members) {
      const after = await member.getMembers();
      expect(after.members).toEqual(before.members);
      expect(after.header?.revision).toBe(before.header?.revision);
      const again = await member.addMember(request);
      expect(again.member).toEqual(added.member);
      expect(again.header?.revision).toBe(added.header?.revision);
    }
    const gone = await leader
      .deleteMember({ name: "n4" })
      .catch((error: unknown) => readError(error as ServiceError));
    expect(gone).toMatchObject({ reason: "MEMBER_REMOVED" });
    await cluster.agreed();
  });

  test("all at once, several times; terms only rise", async () => {
    cluster = await TestCluster.start(3);
    let term = (await cluster.leader()).replica.term;
    for (let round = 1; round <= 3; round++) {
      const leader = await cluster.leader();
      const { header } = await leader.updateAdminUrl({
        ...admin("n1", round),
        requestId: `round-${String(round)}`,
      });
      await Promise.all(cluster.members.map((member) => member.stop()));
      await Promise.all(cluster.members.map((member) => member.start()));
      const next = await cluster.leader();
      expect(next.replica.term).toBeGreaterThan(term);
      term = next.replica.term;
      const again = await next.updateAdminUrl({ ...admin("n1", round), requestId: `round-${String(round)}` });
      expect(again.header?.revision).toBe(header?.revision);
      await cluster.settled();
    }
    await cluster.agreed();
  });

  test("a cluster of one comes back by itself", async () => {
    cluster = await TestCluster.start(1);
    const alone = await cluster.leader();
    const { header } = await alone.updateAdminUrl({ ...admin("n1", 7), requestId: "alone" });
    await alone.stop();
    await alone.start();
    await cluster.settled();
    const again = await alone.updateAdminUrl({ ...admin("n1", 7), requestId: "alone" });
    expect(again.header?.revision).toBe(header?.revision);
  });

  test("initial-cluster is ignored from the second start on", async () => {
    cluster = await TestCluster.start(3);
    const [follower] = await twoFollowers();
    const id = follower.id;
    await follower.stop();
    await follower.start({
      initialCluster: [],
      initialClusterState: "existing",
      initialClusterToken: "another",
    });
    await cluster.settled();
    expect(follower.id).toBe(id);
  });

  test("a member starts at another peer URL, and UpdateMember follows; before, it is refused", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [mover] = await twoFollowers();
    const [port] = await freePorts(1);
    const newPeerUrl = `http://127.0.0.1:${String(port)}`;
    const move = { name: mover.name, newPeerUrl };
    const early = await refusal(mover.updateMember(move), status.FAILED_PRECONDITION, "UNHEALTHY_CLUSTER");
    expect(early.details).toContain(`start ${mover.name} with the peer URL ${newPeerUrl} first`);
    const id = mover.replica.id;
    await mover.stop();
    await until("the leader misses it", async () => (await leader.getCluster()).failuresTolerated === 0);
    await mover.start({ peerUrl: newPeerUrl });
    const { members } = await leader.updateMember(move);
    expect(members.find(({ name }) => name === mover.name)?.peerUrls).toEqual([newPeerUrl]);
    await until("the leader reaches it there", async () => {
      const found = (await leader.getCluster()).members.find((entry) => entry.member?.name === mover.name);
      return found?.reachable === true && found.lagEntries === 0n;
    });
    expect(mover.replica.id).toBe(id);
    // The moved member takes part: changes are still committed when the other follower is stopped.
    const others = cluster.running.filter((member) => member !== mover && member !== leader);
    await Promise.all(others.map((member) => member.stop()));
    await leader.updateAdminUrl(admin("n1", 5));
    expect((await mover.getMembers()).members.find(({ name }) => name === "n1")?.adminUrls).toEqual([
      "http://127.0.0.1:5",
    ]);
  });
});

describe("starts that are refused", () => {
  test("a wiped member, with `new` and with `existing`; removed and added again it comes back", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [wiped] = await twoFollowers();
    const id = wiped.id;
    await wiped.wipe();
    for (const initialClusterState of ["new", "existing"] as const) {
      const error = await refusedStart(wiped, { initialClusterState });
      expect(error).toBeInstanceOf(StartRefusedError);
      expect(error.message).toContain(`${wiped.name} (${id}) has started before`);
      expect(error.message).toContain("remove");
    }
    await until("out of contact", async () => (await leader.getCluster()).failuresTolerated === 0);
    await leader.deleteMember({ name: wiped.name });
    await leader.addMember({ name: wiped.name, peerUrl: wiped.config.peerUrl }, { timeoutMs: 20_000 });
    await wiped.start({ initialClusterState: "existing" });
    await cluster.voting();
    expect(wiped.id).not.toBe(id);
  });

  test("a wiped member that starts while nobody answers forms nothing, and is refused when the others are back", async () => {
    cluster = await TestCluster.start(3);
    const [wiped] = await twoFollowers();
    const others = cluster.members.filter((member) => member !== wiped);
    await wiped.wipe();
    await Promise.all(others.map((member) => member.stop()));
    const refused = refusedStart(wiped);
    await Promise.all(others.map((member) => member.start()));
    expect((await refused).message).toContain(`${wiped.name} (`);
    const leader = await cluster.leader();
    await leader.updateAdminUrl(admin("n1", 5));
  });

  test("another cluster's data directory, and another cluster's peers", async () => {
    cluster = await TestCluster.start(1);
    const [mine] = cluster.members;
    const other = await TestCluster.start(3);
    try {
      const [a, b] = await other.followers();
      if (mine === undefined || a === undefined || b === undefined) throw new Error("not there");
      await b.stop();
      await mine.stop();
      renameSync(b.config.dataDir, `${b.config.dataDir}.own`);
      renameSync(mine.config.dataDir, b.config.dataDir);
      const later = await refusedStart(b);
      expect(later).toBeInstanceOf(StartRefusedError);
      expect(later.message).toContain("belongs to another cluster");
      renameSync(b.config.dataDir, mine.config.dataDir);
      // With another token, a new data directory gets another cluster id.
      const fresh = await refusedStart(b, { initialClusterToken: "another" });
      expect(fresh.message).toContain("belongs to another cluster");
      expect(fresh.message).toContain("initial-cluster-token");
      renameSync(`${b.config.dataDir}.own`, b.config.dataDir);
      await b.start();
      await other.settled();
      await mine.start();
    } finally {
      await other.stop();
    }
  });

  test("another member's data directory", async () => {
    cluster = await TestCluster.start(3);
    const [a, b] = await twoFollowers();
    const id = b.id;
    await a.stop();
    await b.stop();
    const error = await refusedStart(a, { dataDir: b.config.dataDir });
    expect(error).toBeInstanceOf(StartRefusedError);
    expect(error.message).toContain(`belongs to member ${b.name} (${id})`);
    // The refused start leaves nothing that prevents either member from starting.
    await Promise.all([a.start(), b.start()]);
    await cluster.settled();
  });

  test("a directory in use, listeners in use, and a name that initial-cluster does not have", async () => {
    cluster = await TestCluster.start(3);
    const [a, b] = await twoFollowers();
    const [admin1, peer1] = await freePorts(2);
    const elsewhere = {
      adminUrl: `http://127.0.0.1:${String(admin1)}`,
      peerUrl: `http://127.0.0.1:${String(peer1)}`,
    };
    await a.stop();
    const inUse = await refusedStart(a, { ...elsewhere, name: b.name, dataDir: b.config.dataDir });
    expect(inUse.message).toContain("in use");
    const peerUrl = await refusedStart(a, { peerUrl: b.config.peerUrl });
    expect(peerUrl.message).toContain(`peer-url ${b.config.peerUrl}: can't listen there`);
    const adminUrl = await refusedStart(a, { adminUrl: b.config.adminUrl });
    expect(adminUrl.message).toContain(`admin-url ${b.config.adminUrl}: can't listen there`);
    const nameless = await refusedStart(a, { ...elsewhere, name: "n9", dataDir: join(cluster.folder, "n9") });
    expect(nameless).toBeInstanceOf(ConfigError);
    const moved = await refusedStart(a, { ...elsewhere, dataDir: join(cluster.folder, "n9") });
    expect(moved).toBeInstanceOf(ConfigError);
    await a.start();
    await cluster.settled();
  });

  test("a removed member's directory does not start again", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [gone] = await twoFollowers();
    const { header } = await leader.deleteMember({ name: gone.name });
    expect(await gone.ended()).toBe(8);
    const mark = readFileSync(join(gone.config.dataDir, "REMOVED"), "utf8");
    // The member learned it from its own log, or from a peer that refused it earlier.
    expect(mark).toContain(`revision ${String(header?.revision)}`);
    const error = await refusedStart(gone);
    expect(error.message).toContain("removed from its cluster");
    cluster.forget(gone);
  });

  test("a member that was removed while it was down learns it at its next start, and exits with 8", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [gone] = await twoFollowers();
    await gone.stop();
    await until("out of contact", async () => (await leader.getCluster()).failuresTolerated === 0);
    await leader.deleteMember({ name: gone.name });
    await gone.start();
    expect(await gone.ended()).toBe(8);
    expect((await refusedStart(gone)).message).toContain("removed from its cluster");
    cluster.forget(gone);
  });
});

describe("stopping", () => {
  test("a leader transfers leadership: the next one leads long before an election timeout", async () => {
    cluster = await TestCluster.start(3, { config: { electionMs: 5000 } });
    const leader = await cluster.leader();
    await cluster.agreed();
    const others = cluster.members.filter((member) => member !== leader);
    const { term } = leader.replica;
    await leader.stop();
    const next = others.find((member) => member.replica.isLeader);
    expect(next?.replica.term).toBe(term + 1);
    for (const member of others) expect(member.replica.leader).toBe(next?.replica.id);
  });

  test("under load: every call gets an answer, and every acknowledged change is there", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.stable();
    const [follower] = await twoFollowers();
    const acknowledged = new Map<string, bigint>();
    const reasons = new Set<string>();
    const write = async (member: TestMember, i: number): Promise<void> => {
      const requestId = `load-${member.name}-${String(i)}`;
      try {
        const { header } = await member.updateAdminUrl(
          { ...admin("n1", 1 + i), requestId },
          { timeoutMs: 20_000 },
        );
        acknowledged.set(`${requestId} ${String(1 + i)}`, header?.revision ?? 0n);
      } catch (error) {
        const { reason, code } = readError(error as ServiceError);
        reasons.add(reason === "" ? `code ${status[code] ?? ""}` : reason);
      }
    };
    const calls = Array.from({ length: 600 }, (_, i) => write(i % 2 === 0 ? leader : follower, i));
    await until("some are acknowledged", () => acknowledged.size > 50);
    await leader.running.stop();
    await Promise.all(calls);
    const allowed = [
      "SERVER_STOPPING",
      "OUTCOME_UNKNOWN",
      "NOT_PROPOSED",
      "code UNAVAILABLE",
      "code CANCELLED",
    ];
    expect([...reasons].filter((reason) => !allowed.includes(reason))).toEqual([]);
    await leader.stop();
    await cluster.leader();
    expect(new Set(acknowledged.values()).size).toBe(acknowledged.size);
    const repeats = [...acknowledged].map(async ([what, revision]) => {
      const [requestId = "", port] = what.split(" ");
      const again = await follower.updateAdminUrl({ ...admin("n1", Number(port)), requestId });
      return again.header?.revision === revision;
    });
    expect((await Promise.all(repeats)).filter((isSame) => !isSame)).toEqual([]);
  });

  test("stopping twice is stopping once, and a stopped member can start again", async () => {
    cluster = await TestCluster.start(1);
    const alone = await cluster.leader();
    const server = alone.running;
    await Promise.all([server.stop(), server.stop()]);
    await alone.stop();
    await alone.start();
    await alone.getMembers();
  });
});

describe("health", () => {
  const clients: HealthClient[] = [];
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });
  function healthOf(member: TestMember): HealthClient {
    const client = new HealthClient(new URL(member.config.adminUrl).host, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
    });
    clients.push(client);
    return client;
  }

  test("SERVING only with a leader; NOT_SERVING before a stop ends the stream", async () => {
    cluster = await TestCluster.start(3);
    const leader = await cluster.leader();
    const [a, b] = await twoFollowers();
    for (const member of cluster.members) {
      for (const service of ["", "muster.v1.MembershipService"]) {
        const client = healthOf(member);
        const answer = await callUnary(client.check.bind(client), { service });
        expect(answer.status).toBe(Serving.SERVING);
      }
    }
    const client = healthOf(a);
    const unknown = await callUnary(client.check.bind(client), { service: "no" }).catch(
      (error: unknown) => error,
    );
    expect(unknown).toMatchObject({ code: status.NOT_FOUND });

    const seen: number[] = [];
    const watch = healthOf(a).watch({ service: "" });
    watch.on("data", (response: HealthCheckResponse) => seen.push(response.status));
    watch.on("error", () => undefined);
    await until("the first state", () => seen.length === 1);
    await Promise.all([leader.stop(), b.stop()]);
    await until("NOT_SERVING without a leader", () => seen.at(-1) === Serving.NOT_SERVING);
    await Promise.all([leader.start(), b.start()]);
    await until("SERVING again", () => seen.at(-1) === Serving.SERVING);
    await a.stop();
    expect(seen.at(-1)).toBe(Serving.NOT_SERVING);
    watch.cancel();
  });
});

describe("a disk that fails", () => {
  /** A file system whose syncs fail after `break` was called. */
  class BreakingFs {
    isBroken = false;
    readonly fs: StorageFs = {
      ...nodeFs,
      open: (path, mode, done) => {
        nodeFs.open(path, mode, (...result) => {
          if (result[0] !== null) {
            done(result[0], undefined);
            return;
          }
          const file = result[1];
          done(null, {
            write: (bytes, position, written) => {
              file.write(bytes, position, written);
            },
            sync: (synced) => {
              if (!this.isBroken) file.sync(synced);
              else setImmediate(synced, Object.assign(new Error("input/output error"), { code: "EIO" }));
            },
            close: (closed) => {
              file.close(closed);
            },
          });
        });
      },
    };
  }

  test("the leader acknowledges nothing more and exits with 1; the others go on, and no change is lost", async () => {
    const disks = new Map<string, BreakingFs>();
    cluster = await TestCluster.start(3, {
      depsOf: (name) => {
        const disk = disks.get(name) ?? new BreakingFs();
        disks.set(name, disk);
        return { fs: disk.fs };
      },
    });
    const leader = await cluster.stable();
    const [follower] = await twoFollowers();
    const kept = await leader.updateAdminUrl({ ...admin("n1", 1), requestId: "before" });
    const disk = disks.get(leader.name);
    if (disk === undefined) throw new Error("no disk");
    disk.isBroken = true;
    const calls = [leader, follower].map((member, i) =>
      member.updateAdminUrl({ ...admin("n2", 2 + i), requestId: `at-${member.name}` }, { timeoutMs: 20_000 }),
    );
    const [atLeader, atFollower] = await Promise.allSettled(calls);
    // The write at the follower is repeated at the next leader; the one at the failed member is not acknowledged.
    expect(atFollower?.status).toBe("fulfilled");
    expect(atLeader?.status).toBe("rejected");
    expect(await leader.ended()).toBe(1);
    const next = await cluster.leader();
    const again = await next.updateAdminUrl({ ...admin("n1", 1), requestId: "before" });
    expect(again.header?.revision).toBe(kept.header?.revision);
    cluster.forget(leader);
  });
});
