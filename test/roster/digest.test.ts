/** The roster's digest: equal for equal rosters however they came about, kept with every change and after a restore. */
import { RosterDigests } from "../../src/roster/digest";
import { Roster } from "../../src/roster/index";
import { CLUSTER_ID, add, adminUrls, apply, emptyEntry, move, publish, remove, sha256 } from "./support/log";

function founded(): Roster {
  const roster = new Roster({ clusterId: CLUSTER_ID, sha256 });
  for (const n of [1, 2, 3]) apply(roster, add(n));
  return roster;
}

const latest = (roster: Roster): string => {
  const found = roster.digests?.latest();
  return found == null ? "none" : `${String(found.revision)} ${Buffer.from(found.digest).toString("hex")}`;
};
const hexOf = (roster: Roster): string => latest(roster).split(" ")[1] ?? "";

test("is kept at each change, and only then", () => {
  const roster = founded();
  const before = latest(roster);
  apply(roster, adminUrls({ id: 1n }, ["http://a:1"]));
  const changed = latest(roster);
  expect(changed).toMatch(/^4 [0-9a-f]{32}$/);
  expect(changed).not.toBe(before);
  apply(roster, adminUrls({ id: 1n }, ["http://a:1"]));
  roster.apply(emptyEntry(6));
  expect(latest(roster)).toBe(changed);
});

test.each<[string, Parameters<typeof apply>[1]]>([
  ["a name and URL", add(4)],
  ["a learner", add(4, { learner: true })],
  ["a peer URL", move({ id: 2n }, "http://elsewhere:1")],
  ["admin URLs", adminUrls({ id: 2n }, ["http://elsewhere:1"])],
  ["a publish", publish(2)],
  ["another instance", publish(2, 77)],
  ["a removal", remove({ id: 2n })],
])("differs by %s", (_what, command) => {
  const [plain, changed] = [founded(), founded()];
  apply(plain, adminUrls({ id: 1n }, ["http://x:1"]));
  apply(changed, command);
  expect(hexOf(changed)).not.toBe(hexOf(plain));
  expect(hexOf(changed)).not.toBe(hexOf(founded()));
});

test("a restored roster has the digest of the one that was saved", () => {
  const roster = founded();
  apply(roster, publish(1));
  apply(roster, remove({ id: 3n }));
  const options = { appliedIndex: roster.appliedIndex, sha256 };
  expect(latest(Roster.restore(roster.snapshot(), options))).toBe(latest(roster));
});

test("depends neither on the order of changes nor on what was there before, nor on when it is asked for", () => {
  const members = founded().members();
  const [a, b] = [new RosterDigests(sha256), new RosterDigests(sha256)];
  members.forEach((member, i) => {
    a.put(member, i + 1);
  });
  [...members].reverse().forEach((member, i) => {
    b.put({ ...member, name: "before" }, i + 1);
    b.latest();
    b.put(member, i + 1);
  });
  expect(b.latest()).toEqual(a.latest());
});

test("many changes, asked for after each or once: the same digests", () => {
  const [often, once] = [new RosterDigests(sha256), new RosterDigests(sha256)];
  const [member] = founded().members();
  if (member === undefined) throw new Error("no member");
  const told = [];
  for (let revision = 1; revision <= 1500; revision++) {
    const id = BigInt(1 + (revision % 3));
    const changed = { ...member, id, updateRevision: revision };
    for (const digests of [often, once]) {
      if (revision % 50 === 0) digests.remove({ id, name: "gone", revision, timeMs: 7 }, revision);
      else digests.put(changed, revision);
    }
    told.push(often.latest());
  }
  expect(once.latest()).toEqual(often.latest());
  for (const digest of told.slice(-200))
    expect(digest === null ? "" : once.compare(digest, 1500)).toBe("same");
  expect(new Set(told.map((digest) => Buffer.from(digest?.digest ?? []).toString("hex"))).size).toBe(1500);
});

describe("comparing with the leader's", () => {
  const at = (revision: number, fill = 0) => ({ revision, digest: new Uint8Array(16).fill(fill) });

  test("the same, another, one that was never here, and one that can't be judged", () => {
    const roster = founded();
    const { digests } = roster;
    if (digests === null) throw new Error("no digests");
    apply(roster, adminUrls({ id: 1n }, ["http://a:1"]));
    roster.apply(emptyEntry(5));
    const own = digests.latest();
    if (own === null) throw new Error("no digest");
    expect(digests.compare(own, 5)).toBe("same");
    expect(digests.compare(at(4), 5)).toBe("other");
    expect(digests.compare(at(5), 5)).toBe("missing");
    expect(digests.compare(at(6), 5)).toBe("unknown");
    expect(digests.compare(at(0), 5)).toBe("unknown");
  });

  test("at least the last 256 changes are kept, and those before twice as many are not", () => {
    const digests = new RosterDigests(sha256);
    const [member] = founded().members();
    if (member === undefined) throw new Error("no member");
    for (let revision = 1; revision <= 1000; revision++)
      digests.put({ ...member, updateRevision: revision }, revision);
    expect(digests.compare(at(1000 - 255), 1000)).toBe("other");
    expect(digests.compare(at(1000 - 512), 1000)).toBe("unknown");
  });
});
