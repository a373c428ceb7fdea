/** Runs the section of docs/operations.md about growing a cluster by joining, and a lost disk there. */
import { MemberRole } from "../../src/client";
import { OFFSETS, Site } from "./support/operations_page";
import { ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";

jest.setTimeout(240_000);

const SECTION = "Grow by joining";
let site: Site | null = null;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(async () => {
  await site?.destroy();
  site = null;
});

test("one member grows to three and to five, and one whose disk is lost replaces itself", async () => {
  const here = new Site(await freePortBlock(OFFSETS), [SECTION]);
  site = here;
  await here.run(SECTION);
  const three = await here.settled(["n1", "n2", "n3"]);
  expect([three.quorumSize, three.failuresTolerated]).toEqual([2, 1]);

  await here.run(SECTION);
  const five = await here.settled(["n1", "n2", "n3", "n4", "n5"]);
  expect(five.members.map(({ member }) => member?.role)).toEqual(Array(5).fill(MemberRole.VOTER));
  await here.run(SECTION);

  const idOf = ({ members }: typeof five) => members.find(({ member }) => member?.name === "n2")?.member?.id;
  const lost = here.members.get("n2");
  lost?.signal("SIGKILL");
  await lost?.end();
  await here.run(SECTION);
  await until("n2 has another id", async () => idOf(await here.cluster()) !== idOf(five));
  await here.settled(["n1", "n2", "n3", "n4", "n5"]);
  expect(here.left).toEqual([]);
});
