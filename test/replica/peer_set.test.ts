/** Whom a member talks to: the roster, outgoing voters, and strangers within bounds. */
import {
  Roster,
  addMemberCommand,
  encodeCommand,
  removeMemberCommand,
  updateMemberCommand,
} from "../../src/roster/index";
import { ConfChangeTransition, ConfChangeType, EMPTY_BYTES, EntryType } from "../../src/raft/index";
import type { RosterCommand } from "../../src/generated/muster/storage/v1/command";
import { PeerSet } from "../../src/replica/peer_set";

const url = (id: bigint): string => `http://10.0.0.${String(id)}:7461`;
const peer = (id: bigint) => ({ id, peerUrls: [url(id)] });

function apply(roster: Roster, type: ConfChangeType, nodeId: bigint, command: RosterCommand): void {
  const changes = [{ type, nodeId }];
  const confChange = { transition: ConfChangeTransition.Auto, changes, context: encodeCommand(command) };
  const index = roster.appliedIndex + 1;
  roster.apply({ term: 1, index, type: EntryType.ConfChangeV2, data: EMPTY_BYTES, confChange });
}

function add(roster: Roster, id: bigint): void {
  const member = { id, name: `n${String(id)}`, peerUrl: url(id), adminUrls: [] };
  apply(roster, ConfChangeType.AddVoter, id, addMemberCommand({ proposalId: id, timeMs: 0 }, member));
}

function remove(roster: Roster, id: bigint): void {
  const fields = { member: { id, name: "" }, peerUrl: "" };
  apply(roster, ConfChangeType.Remove, id, removeMemberCommand({ proposalId: id, timeMs: 0 }, fields));
}

function rosterOf(...ids: bigint[]): Roster {
  const roster = new Roster({ clusterId: 1n });
  for (const id of ids) add(roster, id);
  return roster;
}

test("the members of the roster but for itself", () => {
  expect(new PeerSet(2n).addresses(rosterOf(1n, 2n, 3n), [])).toEqual([peer(1n), peer(3n)]);
});

test("an outgoing voter is kept, though removed, until the joint configuration is left", () => {
  const peers = new PeerSet(1n);
  const roster = rosterOf(1n, 2n, 3n);
  peers.addresses(roster, []);
  remove(roster, 3n);
  expect(peers.addresses(roster, [1n, 2n, 3n])).toEqual([peer(2n), peer(3n)]);
  expect(peers.addresses(roster, [1n, 2n, 3n])).toEqual([peer(2n), peer(3n)]);
  expect(peers.addresses(roster, [])).toEqual([peer(2n)]);
});

test("an outgoing voter that moved is reached where its stream says", () => {
  const peers = new PeerSet(1n);
  const roster = rosterOf(1n, 2n, 3n);
  peers.addresses(roster, []);
  remove(roster, 3n);
  peers.addresses(roster, [3n]);
  const elsewhere = { id: 3n, peerUrls: ["http://elsewhere:1"] };
  peers.addProvisional(elsewhere, roster);
  expect(peers.addresses(roster, [3n])).toEqual([peer(2n), elsewhere]);
  expect(peers.addresses(roster, [3n])).toEqual([peer(2n), elsewhere]);
});

test("an outgoing voter whose address was forgotten at a restart is found by its stream", () => {
  const peers = new PeerSet(1n);
  const roster = rosterOf(1n, 2n, 3n);
  remove(roster, 3n);
  expect(peers.addresses(roster, [3n])).toEqual([peer(2n)]);
  expect(peers.addProvisional(peer(3n), roster)).toBe(true);
  expect(peers.addresses(roster, [3n])).toEqual([peer(2n), peer(3n)]);
  expect(peers.addresses(roster, [])).toEqual([peer(2n)]);
  expect(peers.addresses(roster, [3n])).toEqual([peer(2n)]);
});

test("a stranger is known by its stream until the roster has it; never itself", () => {
  const peers = new PeerSet(1n);
  const roster = rosterOf(1n, 2n);
  expect(peers.addProvisional(peer(1n), roster)).toBe(false);
  expect(peers.addProvisional({ id: 9n, peerUrls: ["http://elsewhere:1"] }, roster)).toBe(true);
  expect(peers.addresses(roster, [])).toEqual([peer(2n), { id: 9n, peerUrls: ["http://elsewhere:1"] }]);
  add(roster, 9n);
  const both = { id: 9n, peerUrls: [url(9n), "http://elsewhere:1"] };
  expect(peers.addresses(roster, [])).toEqual([peer(2n), both]);
});

test("strangers are bounded: the oldest goes first, one that comes again is young", () => {
  const peers = new PeerSet(1n);
  const roster = rosterOf(1n);
  for (let id = 100n; id < 164n; id++) peers.addProvisional(peer(id), roster);
  peers.addProvisional(peer(100n), roster);
  peers.addProvisional(peer(200n), roster);
  const ids = peers.addresses(roster, []).map(({ id }) => id);
  expect(ids).toHaveLength(64);
  expect(ids).toContain(100n);
  expect(ids).not.toContain(101n);
});

describe("a member that is reached elsewhere than the roster says", () => {
  const elsewhere = { id: 2n, peerUrls: ["http://elsewhere:1"] };
  let peers: PeerSet;
  let roster: Roster;
  beforeEach(() => {
    peers = new PeerSet(1n);
    roster = rosterOf(1n, 2n);
    expect(peers.addProvisional(elsewhere, roster)).toBe(true);
  });
  const urls = (): string[] => peers.addresses(roster, []).flatMap(({ peerUrls }) => peerUrls);

  test("has a second address, and calls go there", () => {
    expect(urls()).toEqual([url(2n), "http://elsewhere:1"]);
    expect([peers.urlOf(2n, roster), peers.urlOf(9n, roster)]).toEqual(["http://elsewhere:1", null]);
    expect(peers.addProvisional(elsewhere, roster)).toBe(false);
  });

  test("has one again when it says that it is back", () => {
    expect(peers.addProvisional(peer(2n), roster)).toBe(true);
    expect([urls(), peers.urlOf(2n, roster)]).toEqual([[url(2n)], url(2n)]);
  });

  test("has one again when the roster follows", () => {
    const fields = { member: { id: 2n, name: "" }, newPeerUrl: "http://elsewhere:1" };
    apply(roster, ConfChangeType.Update, 2n, updateMemberCommand({ proposalId: 9n, timeMs: 0 }, fields));
    expect(urls()).toEqual(["http://elsewhere:1"]);
  });

  test("is forgotten when it is removed", () => {
    urls();
    remove(roster, 2n);
    expect([urls(), peers.urlOf(2n, roster)]).toEqual([[], null]);
  });

  test("that was known by its stream before the roster had it keeps that address", () => {
    peers.addProvisional({ id: 3n, peerUrls: ["http://new:1"] }, roster);
    add(roster, 3n);
    expect(urls()).toEqual([url(2n), "http://elsewhere:1", url(3n), "http://new:1"]);
  });
});
