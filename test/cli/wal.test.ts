/** `muster wal inspect|verify` with data directories that storage wrote: output, detected damage, no changes. */
import { readFileSync, readdirSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readLogOffline } from "../../src/storage/offline";
import { markRemoved } from "../../src/storage/data_dir";
import { nodeFs } from "../../src/storage/node_fs";
import { muster } from "./support/harness";
import { Folder, makeDataDir, stateOf } from "./support/data_dir";

let folder: Folder;
let dir: string;

beforeEach(() => {
  folder = new Folder();
  dir = folder.at("n1.data");
});

afterEach(() => {
  folder.remove();
});

const member = (name: string): string => join(dir, "member", name);
const files = (suffix: string): string[] =>
  readdirSync(join(dir, "member"))
    .filter((name) => name.endsWith(suffix))
    .sort();

function flipBit(file: string, offset: number): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 1, offset);
  writeFileSync(file, bytes);
}

describe("wal inspect", () => {
  test("shows identity, hard state, segments with their indexes, and snapshots", async () => {
    await makeDataDir(dir, { last: 100, snapshots: [40, 80], keep: 20 });
    const before = stateOf(dir);
    const { code, out, err } = await muster(["wal", "inspect", dir]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain(`cluster abcd, member 11, instance ${"07".repeat(16)}\n`);
    expect(out).toContain("hard state: term 2, vote 11, commit 100\n");
    expect(out).toContain("torn tail: none\n");
    expect(out).toMatch(/^SNAPSHOT +INDEX +TERM\n0{14}80-0{15}2\.snap +80 +2\n0{14}40-0{15}2\.snap +40 +2$/m);
    expect(out).not.toContain("REQUEST ID");
    // The entries of each segment follow those of the segment before.
    const rows = [...out.matchAll(/^\d{16}\.wal +(\d+|-) +(\d+|-) /gm)];
    expect(rows.length).toBeGreaterThan(1);
    expect(rows).toHaveLength(files(".wal").length);
    expect(rows.at(-1)?.[2]).toBe("100");
    rows.slice(1).forEach((row, i) => {
      expect(Number(row[1])).toBe(Number(rows[i]?.[2]) + 1);
    });
    expect(stateOf(dir)).toEqual(before);
  });

  test("--entries lists every entry with its command and request id", async () => {
    await makeDataDir(dir, { last: 7 });
    const { code, out } = await muster(["wal", "inspect", dir, "--entries"]);
    expect(code).toBe(0);
    const table = out.slice(out.indexOf("INDEX  TERM")).trimEnd().split("\n");
    expect(table.map((line) => line.replace(/ +\d+$/, "").replace(/ {2,}/g, "|"))).toEqual([
      "INDEX|TERM|COMMAND|CONF CHANGE|REQUEST ID|BYTES",
      "1|1|add member|yes|-",
      "2|1|add member|yes|-",
      "3|1|add member|yes|-",
      "4|1|remove member|yes|-",
      "5|2|empty|no|-",
      "6|2|update admin URLs|no|r-6",
      "7|2|update admin URLs|no|r-7",
    ]);
  });

  test("--output json prints the same in one line, with numbers as strings", async () => {
    await makeDataDir(dir, { last: 7 });
    const { out } = await muster(["wal", "inspect", dir, "--entries", "--output", "json"]);
    expect(out.split("\n")).toHaveLength(2);
    expect(JSON.parse(out)).toMatchObject({
      clusterId: "abcd",
      memberId: "11",
      removed: null,
      vote: "11",
      commit: "7",
      firstIndex: "1",
      lastIndex: "7",
      snapshots: [],
      tornTail: null,
      damage: [],
    });
    const { entries } = JSON.parse(out) as { entries: { index: string; requestId: string }[] };
    expect(entries.map(({ index, requestId }) => [index, requestId]).at(-1)).toEqual(["7", "r-7"]);
  });

  test("says that the member was removed", async () => {
    await makeDataDir(dir, { last: 7 });
    await markRemoved(nodeFs, dir, { revision: 9, text: "this member was removed" });
    const { code, out } = await muster(["wal", "inspect", dir]);
    expect(code).toBe(0);
    expect(out).toContain("removed from its cluster: revision 9: this member was removed\n");
  });
});

describe("wal verify", () => {
  test("accepts an undamaged directory and changes nothing", async () => {
    await makeDataDir(dir, { last: 100, snapshots: [40, 80], keep: 20 });
    const before = stateOf(dir);
    const { code, out, err } = await muster(["wal", "verify", dir]);
    expect([code, err]).toEqual([0, ""]);
    const segments = String(files(".wal").length);
    expect(out).toMatch(
      new RegExp(`^ok: ${dir}: ${segments} segments, entries \\d+ to 100, 2 snapshots, no damage\n$`),
    );
    expect(stateOf(dir)).toEqual(before);
  });

  test("names file and byte of a changed bit in the log", async () => {
    await makeDataDir(dir, { last: 100 });
    const [first = ""] = files(".wal");
    flipBit(member(first), 300);
    const before = stateOf(dir);
    const { code, out, err } = await muster(["wal", "verify", dir]);
    expect([code, out]).toEqual([1, ""]);
    const at = Number(/ is damaged at byte (\d+): /.exec(err)?.[1]);
    expect(err).toContain(member(first));
    // The record that contains the byte begins at or before it.
    expect(at).toBeLessThanOrEqual(300);
    expect(at).toBeGreaterThan(300 - 256);
    expect(err).toContain("remove this member and add it again");
    expect(stateOf(dir)).toEqual(before);
  });

  test("names a segment that is missing", async () => {
    await makeDataDir(dir, { last: 200 });
    const middle = files(".wal")[1] ?? "";
    renameSync(member(middle), folder.at(middle));
    const { code, err } = await muster(["wal", "verify", dir]);
    expect(code).toBe(1);
    expect(err).toContain(`The log has a gap: ${member(middle)}: this segment is missing`);
  });

  test("a damaged snapshot is damage, even if the member would start from an older one", async () => {
    await makeDataDir(dir, { last: 100, snapshots: [40, 80] });
    const newest = files(".snap").at(-1) ?? "";
    flipBit(member(newest), 100);
    const { code, out, err } = await muster(["wal", "verify", dir]);
    expect(code).toBe(1);
    expect(err).toContain(member(newest));
    expect(err).toMatch(/ at byte \d+: /);
    expect(out).toMatch(/^damaged: .*nothing is lost\n$/);
    await expect(readLogOffline(dir)).resolves.toMatchObject({ snapshot: { meta: { index: 40 } } });
  });

  test("a torn tail is reported, but not as damage", async () => {
    await makeDataDir(dir, { last: 100 });
    const last = files(".wal").at(-1) ?? "";
    const log = await readLogOffline(dir);
    const used = log.report.segments.at(-1)?.usedBytes ?? 0;
    // The file ends inside the last record, as after a power loss that left its old size.
    truncateSync(member(last), used - 8);
    const before = stateOf(dir);
    const { code, out, err } = await muster(["wal", "verify", dir]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(
      /^note: \d+ bytes of .*\.wal from byte \d+ on \(.*\); nothing in it was acknowledged; the next start cuts it off\nok: /,
    );
    expect(stateOf(dir)).toEqual(before);
    const json = JSON.parse((await muster(["wal", "verify", dir, "--output", "json"])).out) as {
      tornTail: object;
    };
    expect(json.tornTail).toMatchObject({ file: member(last) });
  });

  test("a directory without a member, and meaningless options, are refused", async () => {
    expect(await muster(["wal", "verify", folder.path])).toMatchObject({
      code: 1,
      err: `muster: ${folder.path} does not hold a member's data.\n`,
    });
    expect(await muster(["wal", "inspect", folder.at("nowhere")])).toMatchObject({ code: 1 });
    expect(await muster(["wal", "verify", dir, "--endpoints", "127.0.0.1:1"])).toMatchObject({
      code: 2,
      err: "muster: --endpoints has no meaning for `muster wal verify`\n",
    });
    expect(await muster(["wal", "verify"])).toMatchObject({ code: 2 });
  });
});
