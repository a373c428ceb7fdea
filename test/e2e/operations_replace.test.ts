/**
 * Runs the sections of docs/operations.md about replacing members and about what the leader does by itself.
 */
import { MemberRole, MemberTarget } from "../../src/client";
import { OFFSETS, Site } from "./support/operations_page";
import { ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";

jest.setTimeout(240_000);

let site: Site | null = null;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(async () => {
  await site?.destroy();
  site = null;
});

test("one member is replaced side by side, one that lost its disk in place", async () => {
  const here = new Site(await freePortBlock(OFFSETS), ["The example", "Replace a member"]);
  site = here;
  await here.run("The example");
  await here.settled(["n1", "n2", "n3"]);

  await here.run("Replace a member");
  expect(await here.members.get("n3")?.end(60_000)).toEqual({ code: 8, signal: null });
  const three = await here.settled(["n1", "n2", "n4"]);
  expect([three.quorumSize, three.failuresTolerated]).toEqual([2, 1]);

  await here.stop("n2");
  const before = three.members.find(({ member }) => member?.name === "n2")?.member;
  await here.run("Replace a member");
  const again = await here.settled(["n1", "n2", "n4"]);
  const after = again.members.find(({ member }) => member?.name === "n2")?.member;
  expect(after?.id).not.toBe(before?.id);
  expect(after).toMatchObject({ peerUrls: before?.peerUrls, role: MemberRole.VOTER });
  expect(here.left).toEqual([]);
});

test("a standby is added, and takes over when a voter is away for long enough", async () => {
  const here = new Site(await freePortBlock(OFFSETS), ["The example", "What the leader does by itself"]);
  site = here;
  await here.run("The example");
  await here.settled(["n1", "n2", "n3"]);
  await here.run("What the leader does by itself");
  const four = await here.settled(["n1", "n2", "n3", "s1"]);
  expect(four.settings).toMatchObject({ standbyTakeoverAfter: { seconds: 30n, nanos: 0 } });
  expect(four.quorumSize).toBe(2);

  const away = four.members.find(({ isLeader, member }) => !isLeader && member?.role === MemberRole.VOTER);
  const name = away?.member?.name ?? "";
  await here.stop(name);
  const roleOf = async (wanted: string) =>
    (await here.cluster()).members.find(({ member }) => member?.name === wanted)?.member;
  await until(
    "the standby votes",
    async () => (await roleOf("s1"))?.role === MemberRole.VOTER,
    undefined,
    90_000,
  );
  here.restart(name);
  await here.settled(["n1", "n2", "n3", "s1"]);
  expect(await roleOf(name)).toMatchObject({ role: MemberRole.LEARNER, target: MemberTarget.STANDBY });
  expect(here.left).toEqual([]);
});
