/** What `muster wal verify` calls whole can be applied: entries that no member applies are reported with index and file. */
import { join } from "node:path";
import { EntryType } from "../../src/raft/index";
import type { Entry } from "../../src/raft/index";
import { createDataDir } from "../../src/storage/data_dir";
import { nodeFs } from "../../src/storage/node_fs";
import { Folder, IDENTITY, MEMBER_ID, sampleEntries } from "./support/data_dir";
import { muster } from "./support/harness";

let folder: Folder;

beforeEach(() => {
  folder = new Folder();
});

afterEach(() => {
  folder.remove();
});

async function made(entries: readonly Entry[]): Promise<string> {
  const dir = folder.at("n1.data");
  const hardState = { term: 2, vote: MEMBER_ID, commit: entries.length };
  await createDataDir(nodeFs, dir, IDENTITY, { entries, hardState });
  return dir;
}

const garbage = (index: number, data: Buffer): Entry => {
  return { term: 2, index, type: EntryType.Normal, data, confChange: null };
};

test("a log whose entries all apply is whole", async () => {
  const dir = await made(sampleEntries(12));
  expect(await muster(["wal", "verify", dir])).toMatchObject({ code: 0, err: "" });
});

test("an entry that does not decode is damage, although its checksums are right", async () => {
  const dir = await made([...sampleEntries(8), garbage(9, Buffer.from([0x0a, 0xff, 0xff]))]);
  const { code, out, err } = await muster(["wal", "verify", dir]);
  expect(code).toBe(1);
  expect(err).toContain(
    `${join(dir, "member", "0000000000000001.wal")}: entry 9 can't be applied: a roster command of 3 bytes does not decode`,
  );
  expect(out).toContain("damaged: ");
  expect(out).toContain("a member does not start from it");
  expect(out).not.toContain("nothing is lost");
});

test("an entry of a newer version is named too, with what to do", async () => {
  const dir = await made([...sampleEntries(8), garbage(9, Buffer.from([0x08, 0x64, 0x10, 0x01]))]);
  const { code, err } = await muster(["wal", "verify", dir]);
  expect(code).toBe(1);
  expect(err).toMatch(
    /entry 9 can't be applied: roster command kind \d+ version \d+ is not known here.*start this member/,
  );
  const json = await muster(["wal", "inspect", dir, "--output", "json"]);
  expect(JSON.parse(json.out)).toMatchObject({ usable: false, damage: [{ offset: null }] });
});

test("an entry of another state machine is not the roster's, and no damage", async () => {
  const dir = await made([...sampleEntries(8), garbage(9, Buffer.from([0, 3, 255, 255]))]);
  expect(await muster(["wal", "verify", dir])).toMatchObject({ code: 0, err: "" });
});
