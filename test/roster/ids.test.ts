/** Ids: text form, computation, reserved values. */
import {
  bootstrapMemberId,
  clusterId,
  compareIds,
  formatId,
  isReservedId,
  laterMemberId,
  parseId,
} from "../../src/roster/index";
import { LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD } from "../../src/raft/index";
import { sha256, TIME_MS } from "./support/log";

const MAX = 0xffff_ffff_ffff_ffffn;
const RANDOM = new Uint8Array(16).fill(9);

describe("the text of an id", () => {
  test.each([
    [1n, "1"],
    [0xabn, "ab"],
    [0x8e9e05c52164694dn, "8e9e05c52164694d"],
    [MAX, "ffffffffffffffff"],
  ])("%s is %s and back", (id, text) => {
    expect(formatId(id)).toBe(text);
    expect(parseId(text)).toBe(id);
    expect(parseId(text.toUpperCase())).toBe(id);
  });

  test.each(["", "0", "00", "01", "0x1", "g", " 1", "1 ", "1\n", "-1", "1.0", "10000000000000000", "١"])(
    "%j is no id",
    (text) => {
      expect(parseId(text)).toBeNull();
    },
  );
});

test("zero and the ids of the core's local threads are reserved", () => {
  expect([0n, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD].map(isReservedId)).toEqual([true, true, true]);
  expect([1n, LOCAL_APPLY_THREAD - 1n].map(isReservedId)).toEqual([false, false]);
});

test("ids are ordered as unsigned numbers", () => {
  expect([MAX, 1n, 0x8000000000000000n, 0x7fffffffffffffffn].sort(compareIds)).toEqual([
    1n,
    0x7fffffffffffffffn,
    0x8000000000000000n,
    MAX,
  ]);
});

describe("bootstrap ids", () => {
  const id = bootstrapMemberId(sha256, "n1", "http://a:1", "token");

  test("are the same on every member and in every version", () => {
    expect(formatId(id)).toBe("e2c4f7c35fcf5e0c");
    expect(formatId(clusterId(sha256, [3n, 1n, 2n]))).toBe("acd38d29526abc7d");
  });

  test("depend on name, peer URL and token, and on the boundaries between them", () => {
    const others = [
      bootstrapMemberId(sha256, "n2", "http://a:1", "token"),
      bootstrapMemberId(sha256, "n1", "http://a:2", "token"),
      bootstrapMemberId(sha256, "n1", "http://a:1", "other"),
      bootstrapMemberId(sha256, "n1h", "ttp://a:1", "token"),
      laterMemberId(sha256, "n1", "http://a:1", TIME_MS, RANDOM),
    ];
    expect(new Set([id, ...others]).size).toBe(6);
  });

  test("the cluster id depends on the set of ids, not on their order", () => {
    expect(clusterId(sha256, [2n, 1n])).toBe(clusterId(sha256, [1n, 2n]));
    expect(clusterId(sha256, [1n, 3n])).not.toBe(clusterId(sha256, [1n, 2n]));
    expect(clusterId(sha256, [1n])).not.toBe(clusterId(sha256, [1n, 2n]));
  });
});

describe("a later member's id", () => {
  const choose = (timeMs: number, random: Uint8Array): bigint =>
    laterMemberId(sha256, "n4", "http://a:1", timeMs, random);

  test("depends on time and on randomness", () => {
    const ids = [choose(TIME_MS, RANDOM), choose(TIME_MS + 1, RANDOM), choose(TIME_MS, new Uint8Array(16))];
    expect(new Set(ids).size).toBe(3);
    expect(choose(TIME_MS, RANDOM)).toBe(ids[0]);
  });

  test("is never an id that is taken", () => {
    const first = choose(TIME_MS, RANDOM);
    const second = laterMemberId(sha256, "n4", "http://a:1", TIME_MS, RANDOM, (id) => id === first);
    expect(second).not.toBe(first);
  });
});

test("an id that the core reserves is hashed again", () => {
  /** Returns each reserved value in turn, then 42. */
  const values = [0n, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, 42n];
  let calls = 0;
  const scripted = (): Uint8Array => {
    const digest = new Uint8Array(32);
    new DataView(digest.buffer).setBigUint64(0, values[calls++] ?? 1n);
    return digest;
  };
  expect(bootstrapMemberId(scripted, "n1", "http://a:1", "")).toBe(42n);
  calls = 0;
  expect(clusterId(scripted, [1n])).toBe(42n);
  calls = 0;
  expect(laterMemberId(scripted, "n1", "http://a:1", 0, RANDOM)).toBe(42n);
});
