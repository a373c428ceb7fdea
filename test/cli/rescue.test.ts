/** `muster rescue` as a command: its table, its JSON, the next commands, and that no file is replaced by accident. */
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { Folder, makeDataDir, stateOf } from "./support/data_dir";
import { muster } from "./support/harness";

let folder: Folder;

beforeEach(() => {
  folder = new Folder();
});

afterEach(() => {
  folder.remove();
});

test("says each member's place in the log, saves the file, and prints the next commands", async () => {
  const [dir, out] = [folder.at("n1.data"), folder.at("rescued")];
  await makeDataDir(dir, { last: 30, snapshots: [20] });
  const before = stateOf(dir);
  const { code, out: said, err } = await muster(["rescue", dir, "--out", out]);
  expect([code, err]).toEqual([0, ""]);
  expect(said).toMatch(/^\S+n1\.data +n1 +11 +voter +30 +2 +2 +30$/m);
  expect(said).toContain(`saved cluster abcd to ${out}: index 30, term 2, revision 30, members 2\n`);
  expect(said).toContain("entries beyond the known commit index, which are in it too: 0\n");
  expect(said).toContain(
    `  muster snapshot restore ${out} --name n2 --peer-url http://127.0.0.1:7002 --data-dir n2.rescued ` +
      "--initial-cluster n1=http://127.0.0.1:7001,n2=http://127.0.0.1:7002 --initial-cluster-token rescued-30\n",
  );
  expect(stateOf(dir)).toEqual(before);
  expect((await muster(["snapshot", "inspect", out])).out).toContain("index 30, term 2");
});

test("two names of one directory count once; --output json is one line", async () => {
  const [dir, link, out] = [folder.at("n1.data"), folder.at("link"), folder.at("rescued")];
  await makeDataDir(dir, { last: 10 });
  symlinkSync(dir, link);
  const { code, out: said } = await muster([
    "rescue",
    dir,
    link,
    folder.at("none"),
    "--out",
    out,
    "--output",
    "json",
  ]);
  expect([code, said.split("\n").length]).toEqual([0, 2]);
  expect(JSON.parse(said)).toMatchObject({
    file: out,
    survivors: [{ dir, memberId: "11", name: "n1", role: "voter", lastIndex: "10", commit: "10" }],
    leftOut: [{ dir: folder.at("none") }],
    clusterId: "abcd",
    beyondCommit: "0",
  });
});

test("an existing file is replaced with --overwrite only", async () => {
  const [dir, out] = [folder.at("n1.data"), folder.at("rescued")];
  await makeDataDir(dir, { last: 10 });
  await muster(["rescue", dir, "--out", out]);
  const first = readFileSync(out);
  const refused = await muster(["rescue", dir, "--out", out]);
  expect([refused.code, refused.out]).toEqual([2, ""]);
  expect(refused.err).toContain("is there already");
  expect(readFileSync(out)).toEqual(first);
  expect((await muster(["rescue", dir, "--out", out, "--overwrite"])).code).toBe(0);
});

test("without a usable directory it exits with 1 and makes no file", async () => {
  const out = folder.at("rescued");
  const { code, err } = await muster(["rescue", folder.at("a"), folder.at("b"), "--out", out]);
  expect(code).toBe(1);
  expect(err).toContain("none of the directories is usable");
  expect(existsSync(out)).toBe(false);
});
