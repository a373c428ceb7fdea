/** The files of a data directory that are beside the log: read back as written, damage noticed, old or new after a crash. */
import { readBoots, readMet, writeBoots, writeMet } from "../../src/storage/member_files";
import { CrashFs, PowerLoss, seeded } from "./support/crash_fs";
import { fsRun } from "./support/values";

const DIR = "/data";
const id = (n: number): Uint8Array => new Uint8Array(16).fill(n);
const boots = (revision: number, ...ids: number[]) => ({ revision, boots: ids.map(id) });

async function empty(): Promise<CrashFs> {
  const fs = new CrashFs();
  await fsRun((done) => fs.mkdir(DIR, done));
  await fsRun((done) => fs.syncDir("/", done));
  return fs;
}

test("a directory of a version without these files has none", async () => {
  const fs = await empty();
  expect([await readBoots(fs, DIR), await readMet(fs, DIR)]).toEqual([null, []]);
});

test("what was written is read", async () => {
  const fs = await empty();
  await writeBoots(fs, DIR, boots(0));
  expect(await readBoots(fs, DIR)).toEqual(boots(0));
  await writeBoots(fs, DIR, boots(7, 1, 2, 3));
  const met = [
    { memberId: 0xffff_ffff_ffff_fffen, instanceId: id(4) },
    { memberId: 2n, instanceId: id(5) },
  ];
  await writeMet(fs, DIR, met);
  expect([await readBoots(fs, DIR), await readMet(fs, DIR)]).toEqual([boots(7, 1, 2, 3), met]);
});

test("every flipped bit is noticed", async () => {
  const fs = await empty();
  await writeBoots(fs, DIR, boots(7, 1, 2));
  await writeMet(fs, DIR, [{ memberId: 2n, instanceId: id(5) }]);
  for (const [name, read] of [
    ["boots", readBoots],
    ["met", readMet],
  ] as const) {
    const bytes = fs.contents(`${DIR}/${name}`);
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const mask = 1 << (bit & 7);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ mask;
      await expect(read(fs, DIR)).rejects.toMatchObject({ reason: "damage" });
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ mask;
    }
  }
});

test("after a power loss the file is the old one or the new one, and the new one once it was written", async () => {
  const fs = await empty();
  await writeBoots(fs, DIR, boots(1, 1));
  fs.note("acked", 1);
  await writeBoots(fs, DIR, boots(2, 1, 2));
  fs.note("acked", 2);
  const below = seeded(1);
  const loss = new PowerLoss();
  let acked = 0;
  for (const op of fs.ops) {
    loss.apply(op);
    if (op.kind === "note") acked = op.value;
    for (let i = 0; i < 20; i++) {
      const found = (await readBoots(loss.crash(below), DIR))?.revision ?? 0;
      expect(found).toBeGreaterThanOrEqual(acked);
    }
  }
  expect(acked).toBe(2);
});
