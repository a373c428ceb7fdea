/** Members that come back at other addresses, with no call to the cluster. */
import { silentLog } from "../../src/base/log";
import type { ServerConfig } from "../../src/server/config";
import { TestCluster, freePorts, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";

jest.setTimeout(60_000);

let cluster: TestCluster;
const warnings: string[] = [];

beforeEach(async () => {
  warnings.length = 0;
  const log = {
    ...silentLog,
    warn: (_fields: unknown, text: string) => void warnings.push(text),
  };
  cluster = await TestCluster.start(3, { depsOf: (name) => (name === "n1" ? { log } : {}) });
});
afterEach(() => cluster.stop());

async function freshUrls(count: number): Promise<Pick<ServerConfig, "adminUrl" | "peerUrl">[]> {
  const ports = await freePorts(2 * count);
  const url = (i: number): string => `http://127.0.0.1:${String(ports[i])}`;
  return Array.from({ length: count }, (_, i) => ({ adminUrl: url(2 * i), peerUrl: url(2 * i + 1) }));
}

const listed = (by: TestMember, member: TestMember): string =>
  by.roster.member(member.replica.id)?.peerUrls.join() ?? "";

test("one member at another address: the others find it by its handshake, and the roster follows", async () => {
  const [n1, n2, n3] = cluster.members as [TestMember, TestMember, TestMember];
  const [fresh] = (await freshUrls(1)) as [Pick<ServerConfig, "adminUrl" | "peerUrl">];
  await n1.stop();
  await n1.start({
    ...fresh,
    initialCluster: n1.config.initialCluster.map((member) =>
      member.name === "n1" ? { name: "n1", peerUrl: fresh.peerUrl } : member,
    ),
  });
  await until("the roster follows everywhere", () =>
    [n1, n2, n3].every((member) => listed(member, n1) === fresh.peerUrl),
  );
  await cluster.leader();
  await cluster.agreed();
  expect(warnings.filter((text) => text.startsWith("the roster has another peer URL"))).toHaveLength(1);
});

test("all members at other addresses at once, with a new initial-cluster: the cluster finds itself again", async () => {
  const { members } = cluster;
  const urls = await freshUrls(3);
  const initialCluster = members.map(({ name }, i) => ({ name, peerUrl: urls[i]?.peerUrl ?? "" }));
  await Promise.all(members.map((member) => member.stop()));
  await Promise.all(members.map((member, i) => member.start({ ...urls[i], initialCluster })));
  await cluster.leader();
  await until("the roster follows everywhere", () =>
    members.every((by) => members.every((member, i) => listed(by, member) === urls[i]?.peerUrl)),
  );
  await cluster.agreed();
});

test("two members that swap their addresses: the cluster goes on, though the roster can't follow", async () => {
  const [n1, n2] = cluster.members as [TestMember, TestMember, TestMember];
  await n1.stop();
  await n2.stop();
  await Promise.all([
    n1.start({ peerUrl: n2.config.peerUrl, initialCluster: swapped(n1.config) }),
    n2.start({ peerUrl: n1.config.peerUrl, initialCluster: swapped(n2.config) }),
  ]);
  // Led by one of the two, so that each must find the other.
  const leader = await cluster.leader();
  if (leader !== n1) leader.replica.transferLeader(n1.replica.id);
  await until("n1 leads", () => n1.replica.isLeader);
  await until("all have applied the same", () => {
    const applied = cluster.running.map(({ replica }) => replica.applied);
    return new Set(applied).size === 1;
  });
});

function swapped({ initialCluster }: ServerConfig): ServerConfig["initialCluster"] {
  const urlOf = (name: string): string =>
    initialCluster.find((member) => member.name === name)?.peerUrl ?? "";
  const other: Record<string, string> = { n1: "n2", n2: "n1" };
  return initialCluster.map(({ name }) => ({ name, peerUrl: urlOf(other[name] ?? name) }));
}

test("a name that does not resolve and an address where nobody is hold up nobody", async () => {
  const [n1, n2, n3] = cluster.members as [TestMember, TestMember, TestMember];
  await Promise.all(cluster.members.map((member) => member.stop()));
  const initialCluster = [
    ...n1.config.initialCluster,
    { name: "gone", peerUrl: "http://nobody.invalid:7461" },
    { name: "dead", peerUrl: "http://127.0.0.1:1" },
  ];
  await Promise.all([n1, n2, n3].map((member) => member.start({ initialCluster })));
  await cluster.leader();
});
