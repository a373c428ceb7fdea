/**
 * `muster snapshot save|inspect|restore`: save against a real gRPC server with scripted streams, the others with files
 * that are encoded as members encode them.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { Server, ServerCredentials, status } from "@grpc/grpc-js";
import type { ServerWritableStream } from "@grpc/grpc-js";
import { SavedSnapshotHead } from "../../src/generated/muster/storage/v1/saved_snapshot";
import { RosterEvent_Kind, RosterSnapshot } from "../../src/generated/muster/storage/v1/snapshot";
import { MaintenanceServiceService } from "../../src/generated/muster/v1/maintenance_service";
import type {
  SaveSnapshotRequest,
  SaveSnapshotResponse,
} from "../../src/generated/muster/v1/maintenance_service";
import { Roster } from "../../src/roster/index";
import { createRestoredDataDir, restoredCluster } from "../../src/backup/restore";
import { decodeSavedSnapshot } from "../../src/backup/saved_snapshot";
import { readDataDirState } from "../../src/storage/data_dir";
import { nodeFs } from "../../src/storage/node_fs";
import { readLogOffline } from "../../src/storage/offline";
import { openStorage } from "../../src/storage/wal";
import { refusal } from "../client/support/scripted_server";
import { TroubledDisk } from "../integration/support/full_disk";
import { Folder, makeDataDir, savedSample, stateOf } from "./support/data_dir";
import { muster } from "./support/harness";
import type { Outcome } from "./support/harness";

let folder: Folder;

beforeEach(() => {
  folder = new Folder();
});

afterEach(() => {
  folder.remove();
});

const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

// --- save -----------------------------------------------------------------------------------------------------------

type SaveCall = ServerWritableStream<SaveSnapshotRequest, SaveSnapshotResponse>;
type Part = NonNullable<SaveSnapshotResponse["part"]>;

/** A gRPC server with SaveSnapshot only. */
class SavingServer {
  calls = 0;
  private constructor(
    private readonly server: Server,
    readonly endpoint: string,
  ) {}

  static async start(answer: (call: SaveCall) => void): Promise<SavingServer> {
    const server = new Server();
    let started: SavingServer | null = null;
    server.addService(MaintenanceServiceService, {
      saveSnapshot: (call: SaveCall) => {
        if (started !== null) started.calls++;
        answer(call);
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    started = new SavingServer(server, `127.0.0.1:${port}`);
    return started;
  }

  stop(): void {
    this.server.forceShutdown();
  }
}

const HEADER = { clusterId: "abcd", memberId: "11", revision: 20n, raftTerm: 2n, leaderId: "22" };

function partsOf(file: Buffer, chunkBytes = 100): Part[] {
  const value = { header: HEADER, index: 20n, term: 2n, sizeBytes: BigInt(file.length), memberCount: 2 };
  const parts: Part[] = [{ $case: "header", value }];
  for (let at = 0; at < file.length; at += chunkBytes) {
    parts.push({ $case: "chunk", value: file.subarray(at, at + chunkBytes) });
  }
  return [...parts, { $case: "trailer", value: { sha256: sha256(file) } }];
}

function sending(parts: readonly Part[], end: (call: SaveCall) => void = (call) => call.end()) {
  return (call: SaveCall): void => {
    for (const part of parts) call.write({ part });
    end(call);
  };
}

describe("snapshot save", () => {
  const servers: SavingServer[] = [];

  afterEach(() => {
    for (const server of servers.splice(0)) server.stop();
  });

  async function serve(answer: (call: SaveCall) => void): Promise<SavingServer> {
    const server = await SavingServer.start(answer);
    servers.push(server);
    return server;
  }

  async function save(parts: readonly Part[], ...words: string[]): Promise<Outcome> {
    const server = await serve(sending(parts));
    return muster(["snapshot", "save", "--endpoints", server.endpoint, ...words]);
  }

  test("writes the received bytes to a file that only its owner can read, and prints a summary", async () => {
    const bytes = savedSample();
    const file = folder.at("backup");
    const { code, out, err } = await save(partsOf(bytes), file);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toBe(
      `saved cluster abcd to ${file}, as member 11 has it\n` +
        "index 20, term 2, revision 20, members 2\n" +
        `bytes ${bytes.length}, sha256 ${sha256(bytes).toString("hex")}\n`,
    );
    expect(readFileSync(file).equals(bytes)).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder.path)).toEqual(["backup"]);
  });

  test("--output json is one line", async () => {
    const bytes = savedSample();
    const file = folder.at("backup");
    const { out } = await save(partsOf(bytes), file, "--output", "json");
    expect(out.split("\n")).toHaveLength(2);
    expect(JSON.parse(out)).toEqual({
      file,
      clusterId: "abcd",
      memberId: "11",
      index: "20",
      term: "2",
      revision: "20",
      memberCount: "2",
      sizeBytes: String(bytes.length),
      sha256: sha256(bytes).toString("hex"),
    });
  });

  test("does not overwrite an existing file without --overwrite", async () => {
    const file = folder.at("backup");
    writeFileSync(file, "precious");
    const refused = await save(partsOf(savedSample()), file);
    expect(refused).toMatchObject({
      code: 2,
      err: `muster: ${file} is there already: give another name, or --overwrite\n`,
    });
    expect(servers[0]?.calls).toBe(0);
    expect(readFileSync(file, "utf8")).toBe("precious");
    expect(await save(partsOf(savedSample()), file, "--overwrite")).toMatchObject({ code: 0 });
    expect(readFileSync(file).equals(savedSample())).toBe(true);
  });

  const whole = partsOf(savedSample());
  const chunk: Part = { $case: "chunk", value: Buffer.from("x") };
  test.each<[string, Part[]]>([
    ["it ended after 0 bytes", []],
    ["it has no beginning", whole.slice(1)],
    ["it begins twice", [...whole.slice(0, 2), ...whole]],
    [/* without a trailer */ "it ended after", whole.slice(0, -1)],
    [/* a chunk is missing */ "it ended after", [...whole.slice(0, 2), ...whole.slice(3)]],
    ["something follows its end", [...whole, chunk]],
  ])("an incomplete stream is refused: %s", async (why, parts) => {
    const { code, out, err } = await save(parts, folder.at("backup"));
    expect([code, out]).toEqual([1, ""]);
    expect(err).toContain(`sent a snapshot that is not whole: ${why}`);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("bytes that do not match the member's checksum are refused", async () => {
    const parts = partsOf(savedSample()).map((part): Part => {
      if (part.$case !== "chunk") return part;
      const changed = Buffer.from(part.value);
      changed.writeUInt8(changed.readUInt8(0) ^ 1, 0);
      return { $case: "chunk", value: changed };
    });
    const { code, err } = await save(parts, folder.at("backup"));
    expect(code).toBe(1);
    expect(err).toMatch(/what arrived is not what the member sent \(SHA-256 [0-9a-f]{64}\); try again/);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("when a member fails halfway, the next one is asked for the whole stream", async () => {
    const bytes = savedSample();
    const stopping = refusal({ code: status.UNAVAILABLE, reason: "SERVER_STOPPING", message: "stopping" });
    const failing = await serve(sending(partsOf(bytes).slice(0, 4), (call) => call.emit("error", stopping)));
    const good = await serve(sending(partsOf(bytes, 64)));
    const file = folder.at("backup");
    const { code } = await muster([
      "snapshot",
      "save",
      "--endpoints",
      `${failing.endpoint},${good.endpoint}`,
      file,
    ]);
    expect([code, failing.calls, good.calls]).toEqual([0, 1, 1]);
    expect(readFileSync(file).equals(bytes)).toBe(true);
  });

  test("without a quorum it fails like every linearizable read, and leaves no file", async () => {
    const noQuorum = refusal({ code: status.UNAVAILABLE, reason: "NO_QUORUM", message: "no quorum" });
    const server = await serve((call) => call.emit("error", noQuorum));
    const words = [
      "snapshot",
      "save",
      "--endpoints",
      server.endpoint,
      "--timeout",
      "300ms",
      folder.at("backup"),
    ];
    const { code, err } = await muster(words);
    expect(code).toBe(3);
    expect(err).toContain("NO_QUORUM");
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("a file that can't be written is reported as a local error, and no other member is asked", async () => {
    const { code, err } = await save(partsOf(savedSample()), folder.at("nowhere/backup"));
    expect(code).toBe(1);
    expect(err).toMatch(/^muster: (Error: )?ENOENT: .*nowhere\/backup\.tmp'\n$/);
    expect(servers[0]?.calls).toBe(1);
  });
});

// --- inspect --------------------------------------------------------------------------------------------------------

describe("snapshot inspect", () => {
  test("checks the file and prints its contents", async () => {
    const file = folder.at("backup");
    const bytes = savedSample();
    writeFileSync(file, bytes);
    const { code, out, err } = await muster(["snapshot", "inspect", file]);
    expect([code, err]).toEqual([0, ""]);
    expect(`\n${out}`).toBe(`
${file}: whole; cluster abcd, saved from member 11 by muster 9.9.9 at 2026-01-02T03:04:05.000Z
index 20, term 2, revision 20, members 2, tombstones 1
bytes ${bytes.length}, sha256 ${sha256(bytes).toString("hex")}

ID  NAME  ROLE   STARTED  PEER URL               ADMIN URL
11  n1    voter  no       http://127.0.0.1:7001  http://127.0.0.1:8020
22  n2    voter  no       http://127.0.0.1:7002  -
`);
    const json = await muster(["snapshot", "inspect", file, "--output", "json"]);
    expect(json.out.split("\n")).toHaveLength(2);
    expect(JSON.parse(json.out)).toMatchObject({ index: "20", revision: "20", tombstoneCount: "1" });
  });

  test("detects every flipped bit and every missing byte at the end", () => {
    const bytes = savedSample(8);
    expect(decodeSavedSnapshot("whole", bytes).snapshot.meta.index).toBe(8);
    const refused = (changed: Uint8Array): boolean => {
      try {
        decodeSavedSnapshot("FILE", changed);
        return false;
      } catch (error) {
        return error instanceof Error && /^FILE: is (damaged|not a file)/.test(error.message);
      }
    };
    let flips = 0;
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      const at = Math.floor(bit / 8);
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (bit % 8)), at);
      if (refused(changed)) flips++;
    }
    expect(flips).toBe(bytes.length * 8);
    for (let length = 0; length < bytes.length; length++) {
      expect([length, refused(bytes.subarray(0, length))]).toEqual([length, true]);
    }
    expect(refused(Buffer.concat([bytes, Buffer.from([0])]))).toBe(true);
  });

  /** A file with the given contents and a valid checksum. */
  function sealed(head: Partial<SavedSnapshotHead>, data: Uint8Array = Buffer.alloc(0)): Buffer {
    const message = SavedSnapshotHead.fromPartial({
      formatVersion: 1,
      clusterId: 0xabcdn,
      meta: { index: 20, term: 2 },
      sizeBytes: data.length,
      ...head,
    });
    const bytes = SavedSnapshotHead.encode(message).finish();
    const prefix = Buffer.alloc(12);
    prefix.write("MUSTSAVE", "latin1");
    prefix.writeUInt32LE(bytes.length, 8);
    const content = Buffer.concat([prefix, bytes, data]);
    return Buffer.concat([content, sha256(content)]);
  }
  const roster = new Roster({ clusterId: 0xabcdn }).snapshot();

  test("a valid checksum is not enough: the contents are checked too", () => {
    const read = (bytes: Buffer) => () => decodeSavedSnapshot("FILE", bytes);
    expect(read(sealed({}, roster))).not.toThrow();
    expect(read(sealed({ formatVersion: 2 }, roster))).toThrow(
      "FILE: has format version 2, which this version does",
    );
    expect(read(sealed({ sizeBytes: 1 }, roster))).toThrow("its length is not what its head says");
    expect(read(sealed({ clusterId: 1n }, roster))).toThrow(
      "its roster is of another cluster than its head says",
    );
    expect(read(sealed({ meta: undefined }, roster))).toThrow("its head has no log index");
    expect(read(sealed({}, Buffer.from("no roster")))).toThrow(/^FILE: .*roster snapshot/);
  });

  test("the error names the file and says what to do", async () => {
    const file = folder.at("backup");
    const bytes = savedSample();
    writeFileSync(file, bytes.subarray(0, bytes.length - 1));
    expect(await muster(["snapshot", "inspect", file])).toMatchObject({
      code: 1,
      err:
        `muster: ${file}: is damaged: its ${bytes.length - 1} bytes do not match the checksum at their end: ` +
        "cut short, or changed. Use another copy.\n",
    });
    writeFileSync(file, "something else entirely, of some length");
    expect((await muster(["snapshot", "inspect", file])).err).toContain(
      "is not a file that `muster snapshot save` wrote",
    );
    expect(await muster(["snapshot", "inspect", folder.at("nowhere")])).toMatchObject({ code: 1 });
  });
});

// --- restore --------------------------------------------------------------------------------------------------------

const urlOf = (name: string): string => `http://127.0.0.1:9${name.slice(1).padStart(3, "0")}`;
const clusterOf = (names: readonly string[]): string =>
  names.map((name) => `${name}=${urlOf(name)}`).join(",");

describe("snapshot restore", () => {
  let file: string;

  beforeEach(() => {
    file = folder.at("backup");
    writeFileSync(file, savedSample());
  });

  function restore(name: string, names: readonly string[], ...words: string[]): Promise<Outcome> {
    const own = ["--name", name, "--peer-url", urlOf(name), "--data-dir", folder.at(`${name}.data`)];
    return muster(["snapshot", "restore", file, ...own, "--initial-cluster", clusterOf(names), ...words]);
  }

  test("prints what it created", async () => {
    const { code, out, err } = await restore("n1", ["n1", "n2", "n3"]);
    expect([code, err]).toEqual([0, ""]);
    const { identity } = await readLogOffline(folder.at("n1.data"));
    const own = identity.memberId.toString(16);
    expect(out).toContain(`restored ${file} into ${folder.at("n1.data")}\n`);
    expect(out).toContain("from: cluster abcd at index 20, revision 20\n");
    expect(out).toContain(
      `to: new cluster ${identity.clusterId.toString(16)}, in which this is n1 (${own}); voters `,
    );
    expect(out).toContain(`n1 (${own})`);
    // Two members are removed and three are added: five changes, one index each.
    expect(out).toContain("its log begins after index 25, its revision is 25\n");
    expect(out).toContain(
      "tombstones 3, of them from now on the members of the old cluster: n1 (11), n2 (22)\n",
    );
    expect(out).toContain("dropped: 15 remembered request ids\n");
    expect(out).toContain(`  muster server --name n1 --peer-url ${urlOf("n1")} --admin-url URL --data-dir `);
  });

  test("every member of the new cluster gets the same state, byte by byte, and a different instance id", async () => {
    const names = ["n1", "n2", "n3"];
    // The order of initial-cluster does not matter.
    expect((await restore("n1", names)).code).toBe(0);
    expect((await restore("n2", ["n3", "n1", "n2"])).code).toBe(0);
    expect((await restore("n3", ["n2", "n3", "n1"])).code).toBe(0);
    const logs = await Promise.all(names.map((name) => readLogOffline(folder.at(`${name}.data`))));
    const distinct = (values: readonly (string | undefined)[]): number => new Set(values).size;
    const hexOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");
    expect(distinct(logs.map(({ snapshot }) => hexOf(snapshot?.data)))).toBe(1);
    expect(distinct(logs.map(({ identity }) => String(identity.clusterId)))).toBe(1);
    expect(distinct(logs.map(({ identity }) => String(identity.memberId)))).toBe(3);
    expect(distinct(logs.map(({ identity }) => hexOf(identity.instanceId)))).toBe(3);
    const ids = logs.map(({ identity }) => identity.memberId).sort((a, b) => (a < b ? -1 : 1));
    for (const { snapshot, hardState, entries, report } of logs) {
      expect(snapshot?.meta).toEqual({
        index: 25,
        term: 2,
        confState: { voters: ids, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
      });
      expect(hardState).toEqual({ term: 2, vote: 0n, commit: 25 });
      expect(entries).toEqual([]);
      expect(report).toMatchObject({ firstIndex: 26, lastIndex: 25, damagedSnapshots: [], leftovers: [] });
    }
    expect((await muster(["wal", "verify", folder.at("n2.data")])).code).toBe(0);
  });

  test("gives new ids, tombstones for all old members, continued revisions, no remembered requests", async () => {
    expect((await restore("n1", ["n1"])).code).toBe(0);
    const { snapshot, identity } = await readLogOffline(folder.at("n1.data"));
    const state = RosterSnapshot.decode(snapshot?.data ?? Buffer.alloc(0));
    expect(state.clusterId).toBe(identity.clusterId);
    expect(state.clusterId).not.toBe(0xabcdn);
    expect(state.revision).toBe(23);
    expect(state.outcomes).toEqual([]);
    expect(state.members).toMatchObject([
      {
        id: identity.memberId,
        name: "n1",
        peerUrls: [urlOf("n1")],
        adminUrls: [],
        started: false,
        createRevision: 23,
      },
    ]);
    const savedAt = Date.UTC(2026, 0, 2, 3, 4, 5);
    expect(state.tombstones).toEqual([
      { id: 0x11n, name: "n1", revision: 21, timeMs: savedAt },
      { id: 0x22n, name: "n2", revision: 22, timeMs: savedAt },
      { id: 0x33n, name: "gone", revision: 4, timeMs: 1234 },
    ]);
    // A watch that resumes at the saved revision gets every change of the restore.
    const roster = Roster.restore(snapshot?.data ?? Buffer.alloc(0), { appliedIndex: 23 });
    expect(
      roster.eventsSince(20)?.map(({ kind, revision, member }) => [kind, revision, member?.name]),
    ).toEqual([
      [RosterEvent_Kind.REMOVED, 21, "n1"],
      [RosterEvent_Kind.REMOVED, 22, "n2"],
      [RosterEvent_Kind.ADDED, 23, "n1"],
    ]);
    expect(roster.eventsSince(0)?.length).toBeGreaterThan(3);
  });

  test("ids depend only on the token and the saved state", async () => {
    const ids = async (dir: string, from: string, token: string): Promise<string> => {
      const words = ["--name", "n1", "--peer-url", urlOf("n1"), "--data-dir", folder.at(dir)];
      const { out } = await muster([
        "snapshot",
        "restore",
        from,
        ...words,
        "--initial-cluster-token",
        token,
        "--output",
        "json",
      ]);
      const { clusterId, memberId } = JSON.parse(out) as { clusterId: string; memberId: string };
      return `${clusterId}/${memberId}`;
    };
    const later = folder.at("later");
    writeFileSync(later, savedSample(21));
    const first = await ids("a", file, "one");
    expect(await ids("b", file, "one")).toBe(first);
    const others = [await ids("c", file, "two"), await ids("d", later, "one"), await ids("e", file, "")];
    expect(new Set([first, ...others]).size).toBe(4);
  });

  test("the log goes on after the snapshot, and survives being opened again", async () => {
    expect((await restore("n1", ["n1"])).code).toBe(0);
    const dir = folder.at("n1.data");
    const entry = { term: 3, index: 24, type: 0, data: new Uint8Array(0), confChange: null };
    const { storage } = await openStorage(nodeFs, dir);
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(23)]).toEqual([24, 23, 2]);
    await new Promise<void>((resolve, reject) => {
      const hardState = { term: 3, vote: storage.identity.memberId, commit: 24 };
      storage.append({ hardState, entries: [entry], snapshot: null, mustSync: true }, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    await new Promise((resolve) => storage.close(resolve));
    const again = await readLogOffline(dir);
    expect([again.entries.map(({ index }) => index), again.hardState.commit]).toEqual([[24], 24]);
  });

  test("never overwrites a member's data", async () => {
    const dir = folder.at("n1.data");
    await makeDataDir(dir, { last: 7 });
    const before = stateOf(dir);
    expect(await restore("n1", ["n1"])).toMatchObject({
      code: 1,
      err: `muster: ${dir} already holds a member's data.\n`,
    });
    expect(stateOf(dir)).toEqual(before);
  });

  test("without space nothing is created, and the same command works later", async () => {
    const dir = folder.at("n1.data");
    const disk = new TroubledDisk();
    disk.full = true;
    const cluster = restoredCluster(
      decodeSavedSnapshot(file, readFileSync(file)),
      [{ name: "n1", peerUrl: urlOf("n1") }],
      "",
    );
    const id = cluster.members[0]?.id ?? 0n;
    await expect(createRestoredDataDir(disk.fs, dir, cluster, id)).rejects.toMatchObject({
      reason: "io",
      errno: "ENOSPC",
      message: expect.stringContaining(dir) as string,
    });
    expect(await readDataDirState(nodeFs, dir)).toBe("empty");
    expect((await restore("n1", ["n1"])).code).toBe(0);
    expect((await readLogOffline(dir)).identity.memberId).toBe(id);
  });

  test("refuses a damaged file and creates nothing", async () => {
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(60) ^ 4, 60);
    writeFileSync(file, bytes);
    const { code, err } = await restore("n1", ["n1"]);
    expect(code).toBe(1);
    expect(err).toContain(`${file}: is damaged`);
    expect(existsSync(folder.at("n1.data"))).toBe(false);
  });

  test.each([
    [
      "--initial-cluster does not name it",
      ["--initial-cluster", clusterOf(["n2"])],
      "does not name this member",
    ],
    ["another peer URL", ["--initial-cluster", "n1=http://127.0.0.1:1"], "gives"],
    ["no URL", ["--initial-cluster", "n1"], "is not of the form name=peer-url"],
    ["a bad peer URL", ["--peer-url", "ftp://x"], "--name and --peer-url"],
    ["a bad name", ["--name", "a b"], "--name and --peer-url"],
  ])("a mistake in the command is exit code 2: %s", async (_what, words, text) => {
    const { code, err } = await restore("n1", ["n1"], ...words);
    expect([code, err]).toEqual([2, expect.stringContaining(text)]);
    expect(existsSync(folder.at("n1.data"))).toBe(false);
  });

  test("without its own options it is a usage error", async () => {
    mkdirSync(folder.at("x"));
    expect((await muster(["snapshot", "restore", file, "--name", "n1"])).code).toBe(2);
    expect((await restore("n1", ["n1"], "--endpoints", "127.0.0.1:1")).err).toBe(
      "muster: --endpoints has no meaning for `muster snapshot restore`\n",
    );
  });
});
