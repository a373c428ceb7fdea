/** Where `muster snapshot save` writes and what it never replaces, and what `restore` says of a directory. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { ServerWritableStream } from "@grpc/grpc-js";
import { main } from "../../src/cli/main";
import { MaintenanceServiceService } from "../../src/generated/muster/v1/maintenance_service";
import type {
  SaveSnapshotRequest,
  SaveSnapshotResponse,
} from "../../src/generated/muster/v1/maintenance_service";
import { FakeProcess, muster } from "./support/harness";
import type { Outcome } from "./support/harness";

const FILE = Buffer.from("a saved snapshot, as far as the client can tell");

let folder: string;
let server: Server;
let endpoint: string;
let requests: SaveSnapshotRequest[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "muster-target-"));
  server = new Server();
  requests = [];
  server.addService(MaintenanceServiceService, {
    saveSnapshot: (call: ServerWritableStream<SaveSnapshotRequest, SaveSnapshotResponse>) => {
      requests.push(call.request);
      const header = { clusterId: "abcd", memberId: "11", revision: 20n, raftTerm: 2n, leaderId: "" };
      const value = { header, index: 20n, term: 2n, sizeBytes: BigInt(FILE.length), memberCount: 1 };
      const sha256 = createHash("sha256").update(FILE).digest();
      call.write({ part: { $case: "header", value } });
      call.write({ part: { $case: "chunk", value: FILE } });
      call.write({ part: { $case: "trailer", value: { sha256 } } });
      call.end();
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  endpoint = `127.0.0.1:${port}`;
});

afterEach(() => {
  server.forceShutdown();
  rmSync(folder, { recursive: true, force: true });
});

const path = (name: string): string => join(folder, name);
const save = (file: string, ...words: string[]): Promise<Outcome> =>
  muster(["snapshot", "save", file, ...words, "--endpoints", endpoint]);

test("--overwrite replaces a regular file", async () => {
  writeFileSync(path("old"), "old");
  expect((await save(path("old"))).code).toBe(2);
  expect((await save(path("old"), "--overwrite")).code).toBe(0);
  expect(readFileSync(path("old"))).toEqual(FILE);
});

test("a symbolic link is not replaced, and what it points to is left alone", async () => {
  writeFileSync(path("aim"), "precious");
  symlinkSync(path("aim"), path("link"));
  const { code, err } = await save(path("link"), "--overwrite");
  expect([code, err]).toEqual([2, expect.stringContaining("is a symbolic link, which is never replaced")]);
  expect(readFileSync(path("aim"), "utf8")).toBe("precious");
});

test("a pipe, a directory and a device are not replaced", async () => {
  execFileSync("mkfifo", [path("pipe")]);
  mkdirSync(path("dir"));
  for (const [file, what] of [
    [path("pipe"), "a pipe"],
    [path("dir"), "a directory"],
    ["/dev/null", "a device"],
  ] as const) {
    const { code, err } = await save(file, "--overwrite");
    expect([code, err]).toEqual([2, expect.stringContaining(`${file} is ${what}`)]);
  }
  expect(lstatSync(path("pipe")).isFIFO()).toBe(true);
  expect(requests).toEqual([]);
});

test("a link in the place of the temporary file is not written through", async () => {
  writeFileSync(path("aim"), "precious");
  symlinkSync(path("aim"), path("new.tmp"));
  expect((await save(path("new"))).code).toBe(2);
  expect(readFileSync(path("aim"), "utf8")).toBe("precious");
});

test("- is standard output: the file's bytes alone, and the report on standard error", async () => {
  const io = new FakeProcess();
  expect(await main(["snapshot", "save", "-", "--endpoints", endpoint], io)).toBe(0);
  expect([Buffer.concat(io.bytes), io.out]).toEqual([FILE, ""]);
  expect(io.err).toContain("saved cluster abcd to -");
});

test("--serializable asks for what one member has, and says what that means", async () => {
  const { code, err } = await save(path("new"), "--serializable");
  expect([code, requests]).toEqual([0, [{ serializable: true }]]);
  expect(err).toContain("no quorum confirmed this snapshot");
});

test("restore and inspect of a directory say what it is", async () => {
  mkdirSync(path("dir"));
  const words = ["--name", "n1", "--peer-url", "http://127.0.0.1:7461", "--data-dir", path("new")];
  for (const command of [
    ["restore", path("dir"), ...words],
    ["inspect", path("dir")],
  ]) {
    const { code, err } = await muster(["snapshot", ...command]);
    expect([code, err]).toEqual([1, expect.stringMatching(/dir is a directory, and no saved snapshot/)]);
    expect(err).not.toContain("EISDIR");
  }
});
