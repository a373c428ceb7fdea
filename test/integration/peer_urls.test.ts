/** Where members are reached: URLs that lead astray are refused, and a member may listen elsewhere than it is reached. */
import { status } from "@grpc/grpc-js";
import { TestCluster, freePorts, refusal, until } from "./support/cluster";
import { publish } from "./support/peer";

jest.setTimeout(60_000);

const { FAILED_PRECONDITION, INVALID_ARGUMENT, DEADLINE_EXCEEDED } = status;
let cluster: TestCluster;
afterEach(() => cluster.stop());

test("three healthy members: none can be moved to where nobody or another member is", async () => {
  cluster = await TestCluster.start(3);
  const leader = await cluster.stable();
  const [free] = await freePorts(1);
  for (const member of cluster.running) {
    const other = cluster.running.find((candidate) => candidate !== member);
    const astray = [
      `http://127.0.0.1:${String(free)}`,
      // The same process as the other's peer URL, and not in the roster.
      String(other?.config.peerUrl).replace("127.0.0.1", "localhost"),
    ];
    for (const newPeerUrl of astray) {
      const call = leader.updateMember({ name: member.name, newPeerUrl });
      const error = await refusal(call, FAILED_PRECONDITION, "UNHEALTHY_CLUSTER");
      expect(error.details).toContain(newPeerUrl);
      expect(error.retryDelayMs).toBeGreaterThan(0);
    }
  }
  // Its own process by another name is as good as before.
  const [follower] = await cluster.followers();
  if (follower === undefined) throw new Error("no follower");
  const newPeerUrl = follower.config.peerUrl.replace("127.0.0.1", "localhost");
  const { member } = await follower.updateMember({ name: follower.name, newPeerUrl });
  expect(member?.peerUrls).toEqual([newPeerUrl]);
  await until("it is reached there", async () => {
    const { members } = await leader.getCluster();
    return members.every(({ reachable, lagEntries }) => reachable === true && lagEntries === 0n);
  });
});

test("a member added under a URL that it is not configured with costs nothing, and its URL is changed freely", async () => {
  cluster = await TestCluster.start(1);
  const alone = await cluster.leader();
  const joiner = await cluster.joiner("n2");
  const starting = joiner.start();
  const { peerUrl } = joiner.config;
  await alone.addMember({ name: "n2", peerUrl: "http://127.0.0.1:1" });
  // The cluster of one goes on, and says how to mend it.
  const again = await refusal(
    alone.addMember({ name: "n2", peerUrl }),
    status.ALREADY_EXISTS,
    "MEMBER_NAME_EXISTS",
  );
  expect(again.details).toContain(`muster member update n2 --peer-url ${peerUrl}`);
  expect(again.metadata).toMatchObject({ started: "false", given_peer_url: peerUrl });
  await alone.updateMember({ name: "n2", newPeerUrl: peerUrl });
  await starting;
  await cluster.voting();
});

test("a member listens at every address, and is reached at one", async () => {
  cluster = await TestCluster.start(1);
  const alone = await cluster.leader();
  const joiner = await cluster.joiner("n2");
  const [admin, peer] = await freePorts(2);
  const listen = {
    listenAdminUrl: `http://0.0.0.0:${String(admin)}`,
    listenPeerUrl: `http://0.0.0.0:${String(peer)}`,
    adminUrl: `http://127.0.0.1:${String(admin)}`,
    peerUrl: `http://127.0.0.1:${String(peer)}`,
    initialCluster: [
      { name: "n1", peerUrl: alone.config.peerUrl },
      { name: "n2", peerUrl: `http://127.0.0.1:${String(peer)}` },
    ],
  };
  const starting = joiner.start(listen);
  await alone.addMember({ name: "n2", peerUrl: listen.peerUrl });
  await starting;
  await cluster.voting();
  await until("it has published where it is reached", async () => {
    const { members } = await alone.getMembers();
    return members.some(({ name, adminUrls }) => name === "n2" && adminUrls.join() === listen.adminUrl);
  });
});

const ASTRAY = [
  "http://xn--a:7491",
  "http://0.0.0.0:7491",
  "http://[::]:7491",
  "https://127.0.0.1:7491",
  "http://h",
];
test.each(ASTRAY)("%s is no peer URL, and asking for it ends nobody", async (url) => {
  cluster = await TestCluster.start(1);
  const alone = await cluster.leader();
  const add = await refusal(
    alone.addMember({ name: "n2", peerUrl: url }),
    INVALID_ARGUMENT,
    "INVALID_REQUEST",
  );
  expect(add.violations.map(({ field }) => field)).toEqual(["peer_url"]);
  const update = alone.updateMember({ name: "n1", newPeerUrl: url });
  expect((await refusal(update, INVALID_ARGUMENT, "INVALID_REQUEST")).violations).toMatchObject([
    { field: "new_peer_url" },
  ]);
  expect((await alone.getMembers()).members).toHaveLength(1);
});

test("a publish that is too long for the log is refused, and those behind it go through", async () => {
  cluster = await TestCluster.start(3);
  const [member] = await cluster.followers();
  if (member === undefined) throw new Error("no follower");
  const instanceId = Buffer.from(member.replica.roster.member(member.replica.id)?.instanceId ?? []);
  const { lastIndex } = member.replica;
  const adminUrls = Array.from(
    { length: 10_000 },
    (_, i) => `http://${"a".repeat(60)}.${"b".repeat(60)}:${String(i + 1)}`,
  );
  await expect(publish(member, { instanceId, adminUrls, requestId: "long" })).rejects.toMatchObject({
    code: INVALID_ARGUMENT,
  });
  expect(member.replica.lastIndex).toBe(lastIndex);
  await member.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:5"] });
});

test("a deadline of a few milliseconds and an unknown consistency are the caller's own", async () => {
  cluster = await TestCluster.start(3);
  for (const member of cluster.running) {
    for (const timeoutMs of [1, 5, 15]) {
      const soon = { timeoutMs };
      for (const call of [member.getMembers(1, soon), member.getCluster(1, soon)]) {
        const code = await call.then(
          () => status.OK,
          (error: unknown) => (error as { code: number }).code,
        );
        expect(status[code]).toBe(status[DEADLINE_EXCEEDED]);
      }
    }
    for (const call of [member.getMembers(9 as 0), member.getCluster(9 as 0)]) {
      const { violations } = await refusal(call, INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(violations).toMatchObject([{ field: "consistency" }]);
    }
  }
});
