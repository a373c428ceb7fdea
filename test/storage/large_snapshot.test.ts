/** A snapshot of many megabytes: written in parts, the same file, and read back. */
import { SnapshotStore, decodeSnapshotFile, encodeSnapshotFile } from "../../src/storage/snapshot_store";
import { DataDirError } from "../../src/storage/errors";
import type { StorageFs } from "../../src/storage/fs";

const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
const identity = { clusterId: 1n, memberId: 2n, instanceId: new Uint8Array(16).fill(3) };

const MIB = 1024 * 1024;

test.each([0, 1000, 4 * MIB, 4 * MIB + 1, 13 * MIB + 7])("%d bytes", async (size) => {
  const data = Buffer.alloc(size);
  for (let at = 0; at < size; at += 997) data.writeUInt8(at % 251, at);
  const snapshot = { meta: { index: 9, term: 4, confState }, data };
  const writes: { readonly bytes: Buffer; readonly position: number }[] = [];
  const later = (done: (error: null) => void): void => void setImmediate(() => done(null));
  const file = {
    write: (bytes: Uint8Array, position: number, done: (error: null) => void) => {
      writes.push({ bytes: Buffer.from(bytes), position });
      later(done);
    },
    sync: later,
    close: later,
  };
  const fs = {
    open: (_path: string, _mode: string, done: (error: null, opened: typeof file) => void) =>
      done(null, file),
    rename: (_from: string, _to: string, done: (error: null) => void) => later(done),
    syncDir: (_dir: string, done: (error: null) => void) => later(done),
  } as unknown as StorageFs;
  const error = await new Promise((resolve) => {
    new SnapshotStore(fs, "dir", identity, []).write(snapshot, resolve);
  });
  expect(error).toBeNull();
  let end = 0;
  for (const { bytes, position } of writes) {
    expect(position).toBe(end);
    expect(bytes.length).toBeLessThanOrEqual(4 * MIB + 4096);
    end += bytes.length;
  }
  const written = Buffer.concat(writes.map(({ bytes }) => bytes));
  expect(written.equals(encodeSnapshotFile(identity, snapshot))).toBe(true);
  const read = decodeSnapshotFile("file", written);
  if (read instanceof DataDirError) throw read;
  expect(Buffer.from(read.snapshot.data).equals(data)).toBe(true);
});
