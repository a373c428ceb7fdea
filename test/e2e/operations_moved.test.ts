/** Runs the sections of docs/operations.md about members at other addresses and about older copies of data directories. */
import { cpSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OFFSETS, Site } from "./support/operations_page";
import { ensureBuilt, freePortBlock, killLeftovers, until } from "./support/processes";

jest.setTimeout(240_000);

const NAMES = ["n1", "n2", "n3"];

let site: Site | null = null;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(async () => {
  await site?.destroy();
  site = null;
});

/** The peer URLs of the roster, in the order of the members' names. */
async function peerUrls(here: Site): Promise<string[]> {
  const { members } = await here.cluster();
  return members
    .map(({ member }) => `${member?.name ?? ""} ${member?.peerUrls.join() ?? ""}`)
    .sort()
    .map((line) => line.split(" ")[1] ?? "");
}

test("one member moves, then all of them, and the roster follows", async () => {
  const base = await freePortBlock(OFFSETS);
  const here = new Site(base, ["The example", "Other addresses"]);
  site = here;
  const url = (offset: number): string => `http://127.0.0.1:${String(base + offset)}`;
  const follows = (urls: readonly string[]): Promise<void> =>
    until("the roster follows", async () => (await peerUrls(here).catch(() => [])).join() === urls.join());
  await here.run("The example");
  await here.settled(NAMES);

  await here.stop("n3");
  await here.run("Other addresses");
  await follows([url(1), url(11), url(22)]);
  await here.settled(NAMES);
  await here.run("Other addresses");
  expect(here.outputs.at(-1)?.stdout).toContain(url(22));

  for (const name of NAMES) await here.stop(name);
  await here.run("Other addresses");
  await follows([url(2), url(12), url(23)]);
  await here.settled(NAMES);
  await here.run("Other addresses");
  expect(here.left).toEqual([]);
});

test("a member with an older copy of its directory ends with 9, and is replaced", async () => {
  const here = new Site(await freePortBlock(OFFSETS), ["The example", "An older copy, or a copy in use"]);
  site = here;
  await here.run("The example");
  await here.settled(NAMES);
  await here.stop("n3");
  const data = join(here.folder, "n3.data");
  cpSync(data, `${data}.copy`, { recursive: true, filter: (path) => !path.includes("LOCK-") });
  here.restart("n3");
  // The roster knows of this start, which the copy does not.
  await until("n3 is published again", () => here.members.get("n3")?.stderr.includes('"published"') === true);
  await here.stop("n3");
  rmSync(data, { recursive: true });
  renameSync(`${data}.copy`, data);
  here.restart("n3");
  expect(await here.members.get("n3")?.end()).toEqual({ code: 9, signal: null });
  expect(here.output()).toContain("older copy of its data directory");

  await here.run("An older copy, or a copy in use");
  await here.settled(NAMES);
  expect(here.left).toEqual([]);
});
