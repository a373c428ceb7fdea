/** Runs the section of docs/operations.md about adding members, read replicas and standbys. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MemberRole } from "../../src/client";
import { OFFSETS, Site } from "./support/operations_page";
import { ensureBuilt, freePortBlock, killLeftovers } from "./support/processes";

jest.setTimeout(240_000);

let site: Site | null = null;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(async () => {
  await site?.destroy();
  site = null;
});

test("members are added as the page says, and vote by themselves or when they are promoted", async () => {
  const here = new Site(await freePortBlock(OFFSETS), ["The example", "Add members"]);
  site = here;
  const last = (): string => here.outputs.at(-1)?.stdout ?? "";
  await here.run("The example");
  await here.settled(["n1", "n2", "n3"]);

  await here.run("Add members");
  const four = await here.settled(["n1", "n2", "n3", "n4"]);
  expect([four.quorumSize, four.failuresTolerated]).toEqual([3, 1]);

  await here.run("Add members");
  expect(last()).toMatch(/^removed member n5 /);

  await here.run("Add members");
  expect(last()).toMatch(/^promoted member n5 /);
  expect(readFileSync(join(here.folder, "promote.log"), "utf8")).toBe("");
  const five = await here.settled(["n1", "n2", "n3", "n4", "n5"]);
  expect(five.members.map(({ member }) => member?.role)).toEqual(Array(5).fill(MemberRole.VOTER));

  await here.run("Add members");
  expect(last()).toMatch(/^changed the members at revision /);
  expect(await here.members.get("n4")?.end()).toEqual({ code: 8, signal: null });
  const after = await here.settled(["n1", "n2", "n3", "n5"]);
  expect([after.quorumSize, after.failuresTolerated]).toEqual([2, 1]);
  expect(here.left).toEqual([]);
});
