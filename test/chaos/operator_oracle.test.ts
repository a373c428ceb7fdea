/** The oracle of the random operator must be able to fail: each rule is shown answers or directories that break it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ResponseHeader } from "../../src/client";
import { EntryType, NO_NODE } from "../../src/raft/index";
import type { Entry } from "../../src/raft/index";
import { encodeCommand, updateAdminUrlsCommand } from "../../src/roster/index";
import { createDataDir } from "../../src/storage/data_dir";
import { nodeFs } from "../../src/storage/node_fs";
import { DiskOracle } from "./operator_disks";
import type { DirectoryView } from "./operator_disks";
import { OperatorHistory } from "./operator_history";

const CLUSTER = "c1";

function header(changes: Partial<ResponseHeader> = {}): ResponseHeader {
  return { clusterId: CLUSTER, memberId: "1", revision: 5n, raftTerm: 2n, leaderId: "1", ...changes };
}

function acknowledged(
  history: OperatorHistory,
  requestId: string,
  revision: number,
  clusterId = CLUSTER,
): void {
  const outcome = { kind: "acknowledged", revision, startedMs: 0, endedMs: 1 } as const;
  history.wrote(clusterId, { requestId, what: "a test", attempts: 1, outcome });
}

describe("answers", () => {
  it("one leader a term", () => {
    const history = new OperatorHistory();
    history.heard("n1", header());
    history.heard("n2", header({ leaderId: "" }));
    history.heard("n2", header({ leaderId: "2", raftTerm: 3n }));
    history.heard("n3", header({ leaderId: "2", clusterId: "another" }));
    expect(history.problems).toEqual([]);
    history.heard("n3", header({ leaderId: "3" }));
    expect(history.problems).toEqual(["two leaders in term 2: 1 by n1, 3 by n3"]);
  });

  it("one roster a revision", () => {
    const history = new OperatorHistory();
    history.listed("n1", header(), []);
    history.listed("n2", header(), []);
    history.listed("n2", header({ revision: 6n }), []);
    expect(history.problems).toEqual([]);
    history.listed("n3", header({ revision: 6n }), [{ id: "1" } as never]);
    expect(history.problems).toEqual([expect.stringMatching(/^two rosters at revision 6: n2 .* n3 /)]);
  });

  it("a linearizable read is not older than what was known when it began", () => {
    const history = new OperatorHistory();
    const early = history.floor(CLUSTER);
    acknowledged(history, "w1", 7);
    // It began before the write was acknowledged.
    history.readLinearizable("n1", header({ revision: 6n }), early);
    expect(history.problems).toEqual([]);
    history.readLinearizable("n1", header({ revision: 6n }), history.floor(CLUSTER));
    expect(history.problems).toEqual([expect.stringContaining("at n1 answered with revision 6")]);
  });

  it("nor than what another member has answered before", () => {
    const history = new OperatorHistory();
    history.readLinearizable("n1", header({ revision: 9n }), history.floor(CLUSTER));
    history.readLinearizable("n2", header({ revision: 8n }), history.floor(CLUSTER));
    expect(history.problems).toEqual([expect.stringContaining("at n2 answered with revision 8")]);
  });
});

describe("directories", () => {
  const CLUSTER_ID = 0xc1n;
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "muster-oracle-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function entry(index: number, requestId: string, term = 1): Entry {
    const common = { proposalId: BigInt(index), timeMs: 0, requestId };
    const command = updateAdminUrlsCommand(common, {
      member: { id: 1n, name: "" },
      adminUrls: [`http://10.0.0.${index}:1`],
    });
    return { term, index, type: EntryType.Normal, data: encodeCommand(command), confChange: null };
  }

  /** A directory with these requests in its log, of which the first `commit` are committed. */
  async function directory(
    name: string,
    requests: readonly string[],
    commit: number,
  ): Promise<DirectoryView> {
    const dataDir = join(folder, name);
    const entries = requests.map((requestId, i) => entry(i + 1, requestId));
    const identity = { clusterId: CLUSTER_ID, memberId: 1n, instanceId: Buffer.alloc(16, 1) };
    const hardState = { term: 1, vote: NO_NODE, commit };
    await createDataDir(nodeFs, dataDir, identity, { entries, hardState });
    return { name, dataDir, running: false, retired: false, trusted: true };
  }

  async function problemsOf(
    history: OperatorHistory,
    directories: readonly DirectoryView[],
  ): Promise<string[]> {
    const oracle = new DiskOracle(history);
    await oracle.check(directories, CLUSTER);
    await oracle.check(directories, CLUSTER);
    return oracle.problems;
  }

  it("that agree are fine, also where one is behind or has more that is not committed", async () => {
    const history = new OperatorHistory();
    acknowledged(history, "b", 2);
    const all = [
      await directory("n1", ["a", "b", "c"], 2),
      await directory("n2", ["a", "b", "x", "y"], 2),
      await directory("n3", ["a"], 1),
    ];
    expect(await problemsOf(history, all)).toEqual([]);
  });

  it("with two committed entries at one index", async () => {
    const all = [await directory("n1", ["a", "b"], 2), await directory("n2", ["a", "x"], 2)];
    const [problem] = await problemsOf(new OperatorHistory(), all);
    expect(problem).toMatch(/^two committed entries at index 2: n1 has .* \(b\), n2 .* \(x\)$/);
  });

  it("also when the one with the other entry is gone", async () => {
    const oracle = new DiskOracle(new OperatorHistory());
    const first = await directory("n1", ["a", "b"], 2);
    await oracle.check([first], CLUSTER);
    rmSync(first.dataDir, { recursive: true });
    await oracle.check([first, await directory("n2", ["a", "x"], 2)], CLUSTER);
    expect(oracle.problems[0]).toMatch(/^two committed entries at index 2/);
  });

  it("without an acknowledged write, or with another one in its place", async () => {
    const lost = new OperatorHistory();
    acknowledged(lost, "c", 3);
    const all = [await directory("n1", ["a", "b"], 2)];
    expect((await problemsOf(lost, all))[0]).toBe("c was acknowledged at 3, and no intact directory has it");
    const replaced = new OperatorHistory();
    acknowledged(replaced, "c", 2);
    expect((await problemsOf(replaced, all))[0]).toBe("c was acknowledged at 2, where n1 has b committed");
  });

  it("with an acknowledged write only where somebody tampered", async () => {
    const history = new OperatorHistory();
    acknowledged(history, "b", 2);
    const all = [await directory("n1", ["a", "b"], 1), await directory("n2", ["a"], 1)];
    const tampered = all.map((one) => ({ ...one, trusted: one.name === "n2" }));
    expect(await problemsOf(history, tampered)).toContain(
      "b was acknowledged at 2, and no intact directory has it",
    );
  });
});
