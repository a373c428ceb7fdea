/** Validation of requests: they are normalised, or refused with every invalid field. */
import {
  ADMIN_URLS_MAX,
  checkAddMember,
  checkDeleteMember,
  checkReplaceMember,
  checkUpdateAdminUrl,
  checkUpdateMember,
  checkUpdateSettings,
  checkWatchMembers,
  MAX_VIOLATIONS,
  MemberTarget,
  quote,
  refuseInvalid,
  validateName,
  validateRequestId,
} from "../../src/roster/index";
import type { Checked } from "../../src/roster/index";

const WRITE = { requestId: "", expectedRevision: 0n, validateOnly: false, note: "" };
const ADD = { name: "n1", peerUrl: "http://a:1", adminUrl: "", target: MemberTarget.UNSPECIFIED, ...WRITE };

/** The fields that a check found invalid. */
function faults(checked: Checked<unknown>): string[] {
  if (checked.ok) return [];
  expect(checked.refusal.reason).toBe("INVALID_REQUEST");
  expect(checked.refusal.message).toMatch(/^[\x20-\x7e]+$/);
  return (checked.refusal.violations ?? []).map(({ field }) => field);
}

describe("names", () => {
  test.each(["a", "n1", "A.b_c-9", "-", "x".repeat(128)])("%s is valid", (name) => {
    expect(validateName(name)).toBeNull();
  });
  test.each([
    ["", "must not be empty"],
    ["x".repeat(129), "at most 128 characters, not 129"],
    ["a b", "letters, digits"],
    ["a/b", "letters, digits"],
    ["é", 'only: "\\u00e9"'],
    ["a\n", 'only: "a\\u000a"'],
    ["\ud800", 'only: "\\ud800"'],
  ])("%j is invalid", (name, problem) => {
    expect(validateName(name)).toContain(problem);
  });
});

describe("request ids", () => {
  test.each(["", "a", "with space ~!", "x".repeat(64)])("%j is valid", (id) => {
    expect(validateRequestId(id)).toBeNull();
  });
  test.each(["x".repeat(65), "a\n", "\u007f", "é", "\ud800"])("%j is invalid", (id) => {
    expect(validateRequestId(id)).not.toBeNull();
  });
});

describe("AddMember", () => {
  test("is normalised", () => {
    const request = {
      name: "n4",
      peerUrl: "HTTP://Host:07461",
      adminUrl: "http://[0::1]:7460",
      requestId: "r",
      expectedRevision: 9n,
      validateOnly: true,
      note: "why",
      target: MemberTarget.STANDBY,
    };
    expect(checkAddMember(request)).toEqual({
      ok: true,
      value: {
        name: "n4",
        peerUrl: "http://host:7461",
        adminUrls: ["http://[::1]:7460"],
        requestId: "r",
        expectedRevision: 9,
        validateOnly: true,
        note: "why",
        target: MemberTarget.STANDBY,
      },
    });
  });

  test("without an admin URL gives an empty list", () => {
    expect(checkAddMember(ADD)).toMatchObject({ ok: true, value: { adminUrls: [] } });
  });

  test("reports all invalid fields at once", () => {
    const request = {
      name: "",
      peerUrl: "ftp://a",
      adminUrl: "x",
      requestId: "é",
      expectedRevision: 1n << 53n,
      validateOnly: false,
      note: "",
      target: 7 as MemberTarget,
    };
    const checked = checkAddMember(request);
    expect(faults(checked)).toEqual([
      "name",
      "peer_url",
      "admin_url",
      "target",
      "request_id",
      "expected_revision",
    ]);
    expect(checked).toMatchObject({
      refusal: {
        message: "name must not be empty (and 5 more problems)",
        metadata: { field: "name", problem: "must not be empty", more: "5" },
      },
    });
  });

  test.each([
    [0n, []],
    [(1n << 53n) - 1n, []],
    [1n << 53n, ["expected_revision"]],
    [(1n << 64n) - 1n, ["expected_revision"]],
    [-1n, ["expected_revision"]],
  ])("expected_revision %s", (expectedRevision, expected) => {
    expect(faults(checkAddMember({ ...ADD, expectedRevision }))).toEqual(expected);
  });
});

describe("a note", () => {
  test.each([
    ["", []],
    ["replaces the disk; see ticket 7 \u{1f600} \u00e4 \u6f22", []],
    ["\u{1f600}".repeat(256), []],
    ["\u{1f600}".repeat(257), ["note"]],
    ["x".repeat(100_000), ["note"]],
    ["two\nlines", ["note"]],
    ["\u001b[31mred", ["note"]],
    ["a\u2028b", ["note"]],
    ["\u202eoops", ["note"]],
    ["\ud800", ["note"]],
  ])("%j", (note, expected) => {
    expect(faults(checkAddMember({ ...ADD, note }))).toEqual(expected);
  });
});

test("a watch starts at a revision that a number can express exactly, or with the roster", () => {
  const check = (startRevision: bigint) =>
    checkWatchMembers({ startRevision, withLeader: true, withProgress: false });
  const value = { withLeader: true, withProgress: false };
  expect(check(0n)).toEqual({ ok: true, value: { startRevision: null, ...value } });
  expect(check(7n)).toEqual({ ok: true, value: { startRevision: 7, ...value } });
  for (const revision of [1n << 53n, 1n << 63n, (1n << 64n) - 1n])
    expect(faults(check(revision))).toEqual(["start_revision"]);
});

describe("the member of a request", () => {
  const request = { id: "", name: "", newPeerUrl: "http://a:1", ...WRITE };

  test.each([
    [{ name: "n1" }, { id: 0n, name: "n1" }],
    [{ id: "AB" }, { id: 0xabn, name: "" }],
    [
      { id: "ffffffffffffffff", name: "n1" },
      { id: 0xffff_ffff_ffff_ffffn, name: "n1" },
    ],
  ])("%j", (given, member) => {
    expect(checkUpdateMember({ ...request, ...given })).toMatchObject({ ok: true, value: { member } });
  });

  test.each([
    [{}, ["name"]],
    [{ id: "0" }, ["id"]],
    [{ id: "0ab" }, ["id"]],
    [{ id: "xyz" }, ["id"]],
    [{ name: "a b" }, ["name"]],
    [{ name: "a b", id: "g" }, ["name", "id"]],
  ])("%j is refused", (given, expected) => {
    expect(faults(checkUpdateMember({ ...request, ...given }))).toEqual(expected);
    const { newPeerUrl: _, ...rest } = request;
    expect(faults(checkDeleteMember({ ...rest, peerUrl: "", ...given }))).toEqual(expected);
    expect(faults(checkUpdateAdminUrl({ ...rest, adminUrls: ["http://a:1"], ...given }))).toEqual(expected);
  });
});

test("UpdateMember needs a new peer URL, in normal form", () => {
  const request = { id: "", name: "n1", newPeerUrl: "http://A:1", ...WRITE };
  expect(checkUpdateMember(request)).toMatchObject({ ok: true, value: { newPeerUrl: "http://a:1" } });
  expect(faults(checkUpdateMember({ ...request, newPeerUrl: "" }))).toEqual(["new_peer_url"]);
});

test("DeleteMember's peer URL is an optional guard", () => {
  const request = { id: "", name: "n1", peerUrl: "", ...WRITE };
  expect(checkDeleteMember(request)).toMatchObject({ ok: true, value: { peerUrl: "" } });
  expect(checkDeleteMember({ ...request, peerUrl: "http://A:1" })).toMatchObject({
    value: { peerUrl: "http://a:1" },
  });
  expect(faults(checkDeleteMember({ ...request, peerUrl: "a:1" }))).toEqual(["peer_url"]);
});

describe("ReplaceMember", () => {
  const request = { name: "n1", id: "", newName: "", peerUrl: "", adminUrl: "", ...WRITE };

  test("needs the old member only; URLs are normalised", () => {
    expect(checkReplaceMember(request)).toMatchObject({
      ok: true,
      value: { member: { id: 0n, name: "n1" }, newName: "", peerUrl: "", adminUrls: [] },
    });
    const given = { ...request, newName: "n2", peerUrl: "HTTP://A:01", adminUrl: "http://B:2" };
    expect(checkReplaceMember(given)).toMatchObject({
      value: { newName: "n2", peerUrl: "http://a:1", adminUrls: ["http://b:2"] },
    });
  });

  test.each([
    [{ name: "" }, ["name"]],
    [{ name: "", id: "0" }, ["id"]],
    [{ newName: "a b" }, ["new_name"]],
    [{ newName: "x".repeat(129) }, ["new_name"]],
    [
      { newName: " ", peerUrl: "a:1", adminUrl: "ftp://a:1", note: "\n", expectedRevision: 2n ** 63n },
      ["new_name", "peer_url", "admin_url", "expected_revision", "note"],
    ],
  ])("%j is refused", (given, expected) => {
    expect(faults(checkReplaceMember({ ...request, ...given })).sort()).toEqual([...expected].sort());
  });
});

describe("UpdateClusterSettings", () => {
  const request = {
    autoPromote: undefined,
    standbyTakeoverAfter: undefined,
    removeUnstartedAfter: undefined,
    ...WRITE,
  };
  const of = (seconds: bigint, nanos = 0) => ({ seconds, nanos });
  const YEAR = 365n * 86_400n;

  test.each([
    [of(0n), 0],
    [of(1n), 1000],
    [of(1n, 999_999_999), 1999],
    [of(YEAR), 31_536_000_000],
  ])("%p are %d ms", (removeUnstartedAfter, ms) => {
    expect(checkUpdateSettings({ ...request, removeUnstartedAfter })).toMatchObject({
      ok: true,
      value: { settings: { removeUnstartedAfterMs: ms, standbyTakeoverAfterMs: undefined } },
    });
  });

  test.each([
    of(0n, 1),
    of(0n, 999_999_999),
    of(0n, 2_000_000_000),
    of(2n, -1),
    of(2n, 1_000_000_000),
    of(-1n),
    of(-5n, -1),
    of(0n, -1),
    of(YEAR, 1_000_000),
    of(YEAR + 1n),
    of(2n ** 53n),
    of(2n ** 63n - 1n),
    of(-(2n ** 63n)),
  ])("%p is refused", (time) => {
    const both = { ...request, standbyTakeoverAfter: time, removeUnstartedAfter: time };
    expect(faults(checkUpdateSettings(both))).toEqual(["standby_takeover_after", "remove_unstarted_after"]);
  });

  test("nothing given is refused, false and 0 are something", () => {
    expect(checkUpdateSettings(request)).toMatchObject({
      ok: false,
      refusal: {
        message: "auto_promote must be given, or standby_takeover_after, or remove_unstarted_after",
        violations: [{ field: "auto_promote" }],
      },
    });
    expect(checkUpdateSettings({ ...request, autoPromote: false })).toMatchObject({
      ok: true,
      value: { settings: { autoPromote: false } },
    });
    expect(checkUpdateSettings({ ...request, standbyTakeoverAfter: of(0n) })).toMatchObject({
      ok: true,
      value: { settings: { standbyTakeoverAfterMs: 0, autoPromote: undefined } },
    });
  });
});

describe("UpdateAdminURL", () => {
  const check = (urls: string[]) => checkUpdateAdminUrl({ id: "1", name: "", adminUrls: urls, ...WRITE });
  const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `http://a:${i + 1}`);

  test("keeps the order of the URLs", () => {
    expect(check(["http://B:2", "http://a:1"])).toMatchObject({
      ok: true,
      value: { adminUrls: ["http://b:2", "http://a:1"] },
    });
  });

  test.each([
    [[], ["admin_urls"]],
    [[""], ["admin_urls[0]"]],
    [
      ["http://a:1", "nope", "http://a:x"],
      ["admin_urls[1]", "admin_urls[2]"],
    ],
    [["http://a:1", "HTTP://A:01"], ["admin_urls[1]"]],
    [many(ADMIN_URLS_MAX), []],
    [many(ADMIN_URLS_MAX + 1), ["admin_urls"]],
  ])("%j", (urls, expected) => {
    expect(faults(check(urls))).toEqual(expected);
  });

  test("a refusal lists a limited number of violations", () => {
    const checked = check(Array.from({ length: ADMIN_URLS_MAX }, (_, i) => `bad ${i}`));
    expect(faults(checked)).toHaveLength(MAX_VIOLATIONS);
    expect(checked).toMatchObject({ refusal: { metadata: { more: String(ADMIN_URLS_MAX - 1) } } });
  });
});

test("one more problem is counted in the singular", () => {
  const violation = { field: "name", description: "must not be empty" };
  expect(refuseInvalid([violation, violation]).message).toBe("name must not be empty (and 1 more problem)");
  expect(refuseInvalid([violation]).message).toBe("name must not be empty");
});

test.each([
  ["plain", '"plain"'],
  ['a"b\\c', '"a\\"b\\\\c"'],
  ["é\u001b[2J\ud83d", '"\\u00e9\\u001b[2J\\ud83d"'],
  ["x".repeat(65), `"${"x".repeat(64)}..."`],
  ["x".repeat(64), `"${"x".repeat(64)}"`],
])("quote(%j)", (text, expected) => {
  expect(quote(text)).toBe(expected);
});
