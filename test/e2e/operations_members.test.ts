/** Runs the sections of docs/operations.md about adding members, read replicas and standbys, and about moving a data centre. */
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

test("a data centre moves as the page says, and a client of the old one finds the new one", async () => {
  const here = new Site(await freePortBlock(OFFSETS), ["The example", "Move a data centre"]);
  site = here;
  await here.run("The example");
  await here.settled(["n1", "n2", "n3"]);
  await here.run("Move a data centre");
  await here.settled(["m1", "m2", "m3", "n1", "n2", "n3"]);

  await here.run("Move a data centre");
  expect(readFileSync(join(here.folder, "wait.txt"), "utf8")).toBe("");
  const moved = await here.settled(["m1", "m2", "m3"]);
  expect([moved.quorumSize, moved.failuresTolerated]).toEqual([2, 1]);
  expect(moved.members.map(({ member }) => member?.role)).toEqual(Array(3).fill(MemberRole.VOTER));
  for (const name of ["n1", "n2", "n3"])
    expect(await here.members.get(name)?.end()).toEqual({ code: 8, signal: null });
  await here.run("Move a data centre");
  for (const name of ["m1", "m2", "m3"]) expect(here.outputs.at(-1)?.stdout).toContain(name);
  expect(here.left).toEqual([]);
});
