/**
 * Runs the sections of docs/operations.md about backup, restore, damage and a full disk, in the page's order. Actions that
 * only the page's text describes (stop a member, a damaged disk) are done here.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GetClusterResponse } from "../../src/client";
import { OFFSETS, Site } from "./support/operations_page";
import { ensureBuilt, freePortBlock, killLeftovers } from "./support/processes";

jest.setTimeout(240_000);

const SECTIONS = ["The example", "Backup", "Restore", "Replace a damaged member", "Disk full"];

let site: Site;

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);
afterEach(() => site.destroy());

/** Changes one bit of a record in the middle of the log. */
function damage(dataDir: string): string {
  const folder = join(dataDir, "member");
  const [segment = ""] = readdirSync(folder).filter((name) => name.endsWith(".wal"));
  const file = join(folder, segment);
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(200) ^ 0x10, 200);
  writeFileSync(file, bytes);
  return file;
}

const names = ["n1", "n2", "n3"];
const idsOf = ({ members }: GetClusterResponse): string[] => members.map(({ member }) => member?.id ?? "");

test("every command of these sections does what the page says", async () => {
  site = new Site(await freePortBlock(OFFSETS), SECTIONS);
  const lastOutput = (): string => site.outputs.at(-1)?.stdout ?? "";

  await site.run("The example");
  const before = await site.settled(names);

  await site.run("Backup");
  expect(lastOutput()).toContain(`whole; cluster ${before.header?.clusterId ?? ""}`);
  expect(existsSync(join(site.folder, "monday.backup"))).toBe(true);

  // "Stop every member of the old cluster that still runs."
  await Promise.all(names.map((name) => site.stop(name)));
  await site.run("Restore");
  const newIds = site.outputs.slice(-3).map(({ stdout }) => /new cluster ([0-9a-f]+),/.exec(stdout)?.[1]);
  expect(new Set(newIds).size).toBe(1);
  await site.run("Restore");
  const restored = await site.settled(names);
  expect(restored.header?.clusterId).toBe(newIds[0]);
  expect(restored.header?.clusterId).not.toBe(before.header?.clusterId);
  expect(restored.header?.revision).toBeGreaterThan(before.header?.revision ?? 0n);
  expect(idsOf(restored).filter((id) => idsOf(before).includes(id))).toEqual([]);
  await site.run("Restore");
  for (const id of idsOf(restored)) expect(lastOutput()).toContain(id);
  await site.run("Restore");
  expect(lastOutput()).toContain("no entries");

  // A damaged disk: the member does not start, and names the place.
  await site.stop("n3");
  const damaged = damage(join(site.folder, "n3.restored"));
  await site.run("Replace a damaged member");
  expect(site.outputs.at(-1)?.stderr).toMatch(
    new RegExp(`n3\\.restored/member/\\d+\\.wal is damaged at byte \\d+`),
  );
  expect(existsSync(damaged)).toBe(true);
  await site.run("Replace a damaged member");
  await site.run("Replace a damaged member");
  const replaced = await site.settled(names);
  expect(idsOf(replaced).filter((id) => idsOf(restored).includes(id))).toHaveLength(2);
  await site.run("Replace a damaged member");

  await site.run("Disk full");
  // "Stop it, copy the whole directory, start it with the copy."
  await site.stop("n1");
  await site.run("Disk full");
  const moved = await site.settled(names);
  expect(idsOf(moved)).toEqual(idsOf(replaced));
  expect(existsSync(join(site.folder, "n1.restored"))).toBe(false);

  expect(site.left).toEqual([]);
  expect(site.outputs.length).toBeGreaterThan(15);
});
