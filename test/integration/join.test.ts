/** Members add themselves (`join`): several at once, where an earlier try stopped, two of one name, and after a lost disk. */
import { MemberRole, MemberTarget } from "../../src/generated/muster/v1/member";
import { silentLog } from "../../src/base/log";
import type { Log } from "../../src/base/log";
import type { JoinConfig } from "../../src/server/config";
import { StartRefusedError } from "../../src/server/errors";
import { Member } from "../../src/server/member";
import { TestCluster, freePorts, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

const NOWHERE = "http://127.0.0.1:1";
const lines: string[] = [];
const log: Log = { ...silentLog, info: (_, text) => void lines.push(text) };

let cluster: TestCluster;
beforeEach(() => {
  lines.length = 0;
});
afterEach(() => cluster.stop());

/** The configuration of a member that joins at these addresses. */
function joining(urls: readonly string[], more: Partial<JoinConfig> = {}) {
  const join: JoinConfig = { urls, target: "voter", replaceIfWiped: false, ...more };
  return { initialCluster: [], initialClusterState: "existing", join } as const;
}

const one = (): TestMember => cluster.member("n1");

async function refused(start: Promise<unknown>): Promise<StartRefusedError> {
  const error: unknown = await start.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StartRefusedError);
  return error as StartRefusedError;
}

test("several at once, by admin and by peer addresses of which one is wrong, become voters", async () => {
  cluster = await TestCluster.start(1);
  const { adminUrl, peerUrl } = one().config;
  const joiners = await Promise.all(["n2", "n3", "n4", "n5"].map((name) => cluster.joiner(name)));
  await Promise.all(
    joiners.map((joiner, i) => joiner.start(joining([NOWHERE, i % 2 === 0 ? adminUrl : peerUrl]))),
  );
  await cluster.voting();
  const { members } = await one().getMembers();
  expect(members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3", "n4", "n5"]);
  await cluster.agreed();
});

test("at a follower, as a learner; it starts again with addresses where nobody answers", async () => {
  cluster = await TestCluster.start(3);
  const [follower] = await cluster.followers();
  const joiner = await cluster.joiner("n4");
  await joiner.start(joining([follower?.config.adminUrl ?? ""], { target: "learner" }));
  await cluster.settled();
  const { members } = await joiner.getMembers();
  expect(members.find(({ name }) => name === "n4")).toMatchObject({
    role: MemberRole.LEARNER,
    target: MemberTarget.LEARNER,
    started: true,
  });
  const { id } = joiner;
  await joiner.stop();
  await joiner.start(joining([NOWHERE]));
  await cluster.settled();
  expect(joiner.id).toBe(id);
});

test("the addresses stay hints: members that all moved find each other by them", async () => {
  cluster = await TestCluster.start(1);
  const n2 = await cluster.joiner("n2");
  await n2.start(joining([one().config.peerUrl]));
  await cluster.voting();
  const [first, second] = (await freePorts(2)).map((port) => `http://127.0.0.1:${String(port)}`);
  if (first === undefined || second === undefined) throw new Error("no ports");
  await Promise.all([one().stop(), n2.stop()]);
  await one().start({ peerUrl: first });
  await n2.start({ ...joining([first]), peerUrl: second });
  await until("the roster follows both", () =>
    cluster.running.every(({ roster }) => {
      const urls = roster.members().flatMap(({ peerUrls }) => peerUrls);
      return urls.includes(first) && urls.includes(second);
    }),
  );
  await cluster.voting();
});

describe("where an earlier try stopped", () => {
  test("it takes the id under which it is listed, and corrects its URL", async () => {
    cluster = await TestCluster.start(1);
    const n2 = await cluster.joiner("n2");
    const added = await one().addMember({ name: "n2", peerUrl: NOWHERE });
    await n2.start(joining([one().config.adminUrl]));
    expect(n2.id).toBe(added.member?.id);
    await cluster.voting();
    expect(one().roster.memberByName("n2")?.peerUrls).toEqual([n2.config.peerUrl]);
  });

  test("it waits for the first address to answer, and for a leader", async () => {
    cluster = await TestCluster.start(3, { depsOf: (name) => (name === "n4" ? { log } : {}) });
    const n4 = await cluster.joiner("n4");
    const [n2, n3] = ["n2", "n3"].map((name) => cluster.member(name));
    await Promise.all([one().stop(), n2?.stop(), n3?.stop()]);
    const started = n4.start(joining([one().config.adminUrl]));
    await until("it says that nobody answers", () =>
      lines.some((text) => text.includes("answers as a member yet")),
    );
    await one().start();
    await until("it says that there is no quorum", () => lines.some((text) => /quorum|leader/.test(text)));
    await n2?.start();
    await started;
    await cluster.voting();
  });
});

describe("two processes of one name at once", () => {
  /** Starts both. @returns those that run, and the errors of those that were refused */
  async function race(members: readonly Member[]) {
    const results = await Promise.allSettled(members.map((member) => member.start()));
    const running = members.filter((_, i) => results[i]?.status === "fulfilled");
    const errors = results.flatMap((result) =>
      result.status === "rejected" ? [result.reason as Error] : [],
    );
    return { running, errors };
  }

  test("with peer URLs of their own: one joins, the other is refused", async () => {
    cluster = await TestCluster.start(1);
    const [a, b] = [await cluster.joiner("n2"), await cluster.joiner("n2")];
    const members = [a, b].map(
      ({ config }, i) =>
        new Member(
          { ...config, ...joining([one().config.adminUrl]), dataDir: `${config.dataDir}.${String(i)}` },
          { log: silentLog },
        ),
    );
    const { running, errors } = await race(members);
    try {
      expect([running.length, errors.length]).toEqual([1, 1]);
      expect(errors[0]).toBeInstanceOf(StartRefusedError);
      expect(errors[0]?.message).toMatch(
        /another process is, or joins as, n2|n2 \(\w+\) is a member already/,
      );
      await until("it votes", () => one().roster.memberByName("n2")?.learner === false);
      expect(one().roster.members()).toHaveLength(2);
    } finally {
      await Promise.all(running.map((member) => member.stop()));
    }
  });

  test("with one peer URL, on two machines: one becomes the member, the other ends and says why", async () => {
    cluster = await TestCluster.start(1);
    const { config } = await cluster.joiner("n2");
    const [admin, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${String(port)}`);
    const there = {
      listenAdminUrl: admin ?? "",
      listenPeerUrl: peer ?? "",
      dataDir: `${config.dataDir}.twin`,
    };
    const members = [{}, there].map(
      (where) => new Member({ ...config, ...joining([one().config.adminUrl]), ...where }, { log: silentLog }),
    );
    const { running, errors } = await race(members);
    try {
      // Refused at its start, when the other one was met already; else as soon as the cluster has met the other one.
      for (const error of errors) expect(error.message).toContain("muster member replace n2");
      await until("one is left", () => running.filter(({ endedBy }) => endedBy === null).length === 1);
      for (const member of running) if (member.endedBy !== null) expect(await member.exited).toBe(9);
      expect(
        one()
          .roster.members()
          .map(({ name }) => name)
          .sort(),
      ).toEqual(["n1", "n2"]);
      // The other machine is not where the peer URL leads: as a member it stays a learner that nobody reaches.
      const isReached = members[0]?.endedBy === null && running.includes(members[0]);
      if (isReached) await until("it votes", () => one().roster.memberByName("n2")?.learner === false);
    } finally {
      await Promise.all(running.map((member) => member.stop()));
    }
  });
});

describe("a lost disk", () => {
  const lost = async (): Promise<{ wiped: TestMember; id: string; urls: string[] }> => {
    cluster = await TestCluster.start(3, { depsOf: () => ({ log }) });
    await cluster.stable();
    const [wiped] = await cluster.followers();
    if (wiped === undefined) throw new Error("no follower");
    const { id } = wiped;
    await wiped.wipe();
    const urls = cluster.running.map(({ config }) => config.adminUrl);
    return { wiped, id, urls };
  };

  test("is refused with the command to replace it, and changes nothing", async () => {
    const { wiped, id, urls } = await lost();
    const error = await refused(wiped.start(joining(urls)));
    expect(error.message).toContain(`muster member replace ${wiped.name} --endpoints`);
    expect(error.wiped).toBe(true);
    const leader = await cluster.leader();
    expect(leader.roster.memberByName(wiped.name)?.id.toString(16)).toBe(id);
  });

  test("with replaceIfWiped it comes back under a new id, and votes", async () => {
    const { wiped, id, urls } = await lost();
    await wiped.start(joining(urls, { replaceIfWiped: true }));
    expect(wiped.id).not.toBe(id);
    await cluster.voting();
    const { members } = await wiped.getMembers();
    expect(members.map(({ name, role }) => [name, role]).sort()).toEqual(
      ["n1", "n2", "n3"].map((name) => [name, MemberRole.VOTER]),
    );
    await cluster.agreed();
    // With its directory it is the same member again.
    const again = wiped.id;
    await wiped.stop();
    await wiped.start(joining(urls, { replaceIfWiped: true }));
    await cluster.settled();
    expect(wiped.id).toBe(again);
  });

  test("with replaceIfWiped it waits while a process of the member runs", async () => {
    cluster = await TestCluster.start(3);
    await cluster.stable();
    const [member] = await cluster.followers();
    if (member === undefined) throw new Error("no follower");
    const { id, config } = member;
    const [admin, peer] = (await freePorts(2)).map((port) => `http://127.0.0.1:${String(port)}`);
    const there = {
      listenAdminUrl: admin ?? "",
      listenPeerUrl: peer ?? "",
      dataDir: `${config.dataDir}.twin`,
    };
    const urls = cluster.running.filter((other) => other !== member).map((other) => other.config.adminUrl);
    const twin = new Member({ ...config, ...joining(urls, { replaceIfWiped: true }), ...there }, { log });
    const started = twin.start();
    try {
      await until("it says so", () => lines.some((text) => text.includes("is in contact")));
      const leader = await cluster.leader();
      expect(leader.roster.memberByName(member.name)?.id.toString(16)).toBe(id);
      await member.stop();
      await started;
      expect((await cluster.leader()).roster.memberByName(member.name)?.id).toBe(twin.cluster.replica.id);
    } finally {
      await twin.stop();
    }
  });

  test("a name that another member has is not taken, whatever is allowed", async () => {
    cluster = await TestCluster.start(1);
    const n2 = await cluster.joiner("n1");
    const error = await refused(
      n2.start({
        ...joining([one().config.adminUrl], { replaceIfWiped: true }),
        dataDir: `${n2.config.dataDir}.2`,
      }),
    );
    expect(error.message).toContain("is a member already");
    cluster.forget(n2);
  });
});
