/**
 * Invalid input of clients and peers: each call gets a status and each stream is refused, no member ends or restarts, no
 * two members lead in one term, and the next valid call works.
 */
import { connect } from "node:net";
import { crc32 } from "node:zlib";
import { Metadata, credentials, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { MembershipServiceClient } from "../../src/generated/muster/v1/membership_service";
import { Role } from "../../src/raft/index";
import type { Member } from "../../src/server/member";
import { TestCluster, readError, refusal, until } from "./support/cluster";
import type { TestMember } from "./support/cluster";
import {
  PeerStream,
  publish,
  rawCall,
  rawExchange,
  sendSnapshot,
  strangersHandshake,
  wireMessage,
} from "./support/peer";

jest.setTimeout(120_000);

const { INVALID_ARGUMENT, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, CANCELLED, UNIMPLEMENTED } = status;

let cluster: TestCluster;
let leader: TestMember;
let follower: TestMember;
let servers: (Member | null)[];
/** The members that led in each term, as they reported themselves. */
const leaders = new Map<number, Set<bigint>>();
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown): void => {
  unhandled.push(reason);
};

beforeAll(async () => {
  process.on("unhandledRejection", onUnhandled);
  cluster = await TestCluster.start(3);
  servers = cluster.members.map((member) => member.server);
  for (const { running } of cluster.members) {
    const { replica } = running.cluster;
    const note = (): void => {
      if (replica.status().role !== Role.Leader) return;
      const known = leaders.get(replica.term) ?? new Set<bigint>();
      leaders.set(replica.term, known.add(replica.id));
    };
    note();
    replica.listen({ onLeadership: note });
  }
});
afterAll(async () => {
  process.off("unhandledRejection", onUnhandled);
  await cluster.stop();
});
beforeEach(async () => {
  leader = await cluster.stable();
  const [a] = await cluster.followers();
  if (a === undefined) throw new Error("no follower");
  follower = a;
});

let port = 1000;
afterEach(async () => {
  await cluster.leader();
  for (const member of cluster.members) {
    const adminUrls = [`http://127.0.0.1:${String(port++)}`];
    const written = await member.updateAdminUrl({ name: "n1", adminUrls });
    const read = await member.getMembers();
    expect(read.header?.revision).toBe(written.header?.revision);
    expect(read.members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3"]);
  }
  await cluster.agreed();
  expect(cluster.members.map((member) => member.server)).toEqual(servers);
  expect(cluster.members.map((member) => member.exitCode)).toEqual([null, null, null]);
  for (const [term, ids] of leaders) expect({ term, leaders: ids.size }).toEqual({ term, leaders: 1 });
  expect(unhandled).toEqual([]);
});

/** Random bytes that are the same in every run. */
function pseudoRandomBytes(length: number, seed: number): Buffer {
  let state = seed;
  return Buffer.from(
    Array.from({ length }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state >>> 24;
    }),
  );
}

describe("requests of clients", () => {
  const NAMES = {
    empty: "",
    "10 KB": "n".repeat(10_240),
    "not ASCII": "köln-\u{1f600}",
    "one half of a character": "a\ud800",
    "a line break": "a\nb",
    NUL: "a\0",
    spaces: "a b",
  };
  test.each(Object.entries(NAMES))("name: %s", async (_what, name) => {
    const calls = [
      () => follower.addMember({ name, peerUrl: "http://127.0.0.1:1" }),
      () => leader.addMember({ name, peerUrl: "http://127.0.0.1:1", validateOnly: true }),
      () => follower.deleteMember({ name }),
      () => follower.updateMember({ name, newPeerUrl: "http://127.0.0.1:1" }),
      () => follower.updateAdminUrl({ name, adminUrls: ["http://127.0.0.1:1"] }),
    ];
    for (const call of calls) {
      const error = await refusal(call(), INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(error.violations.map(({ field }) => field)).toEqual(["name"]);
      expect(error.details.length).toBeLessThan(1000);
      expect(error.details).toMatch(/^[\x20-\x7e]*$/);
    }
  });

  const URLS = {
    empty: "",
    "no port": "http://127.0.0.1",
    "a path": "http://127.0.0.1:1/x",
    "ftp:": "ftp://127.0.0.1:1",
    "no scheme": "127.0.0.1:1",
    "a query": "http://127.0.0.1:1?a=b",
    "a fragment": "http://127.0.0.1:1#a",
    "a user": "http://me@127.0.0.1:1",
    "port 0": "http://127.0.0.1:0",
    "port 65536": "http://127.0.0.1:65536",
    "an open bracket": "http://[::1:1",
    "an address of five parts": "http://1.2.3.4.5:1",
    "not ASCII": "http://k\u00f6ln:1",
    "10 KB": `http://${"h".repeat(10_240)}:1`,
  };
  test.each(Object.entries(URLS))("URL: %s", async (_what, url) => {
    const fieldOf = async (call: Promise<unknown>): Promise<string[]> => {
      const error = await refusal(call, INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(error.details.length).toBeLessThan(1000);
      return error.violations.map(({ field }) => field);
    };
    expect(await fieldOf(follower.addMember({ name: "n4", peerUrl: url }))).toEqual(["peer_url"]);
    expect(await fieldOf(follower.updateMember({ name: "n1", newPeerUrl: url }))).toEqual(["new_peer_url"]);
    expect(await fieldOf(follower.updateAdminUrl({ name: "n1", adminUrls: [url] }))).toEqual([
      "admin_urls[0]",
    ]);
    if (url === "") return; // means "not given", which both calls below allow
    const add = follower.addMember({ name: "n4", peerUrl: "http://h:1", adminUrl: url });
    expect(await fieldOf(add)).toEqual(["admin_url"]);
    expect(await fieldOf(follower.deleteMember({ name: "n1", peerUrl: url }))).toEqual(["peer_url"]);
  });

  test.each(["xyz", "0", "00", "01", "-1", "0x1", "1".repeat(17), "1 ", "\u0661"])("id: %s", async (id) => {
    for (const call of [
      () => follower.deleteMember({ id }),
      () => follower.updateMember({ id, newPeerUrl: "http://127.0.0.1:1" }),
      () => follower.updateAdminUrl({ id, adminUrls: ["http://127.0.0.1:1"] }),
    ]) {
      const error = await refusal(call(), INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(error.violations.map(({ field }) => field)).toEqual(["id"]);
    }
  });

  test("request_id: too long, and not printable", async () => {
    for (const requestId of ["r".repeat(65), "a\tb", "\u00e9"]) {
      const call = follower.updateAdminUrl({ name: "n1", adminUrls: ["http://127.0.0.1:1"], requestId });
      const error = await refusal(call, INVALID_ARGUMENT, "INVALID_REQUEST");
      expect(error.violations.map(({ field }) => field)).toEqual(["request_id"]);
    }
  });

  test("an add in which every field is invalid, many times", async () => {
    const adminUrls = Array.from({ length: 2000 }, () => "ftp://x");
    const error = await refusal(follower.updateAdminUrl({ adminUrls }), INVALID_ARGUMENT, "INVALID_REQUEST");
    expect(error.violations.length).toBeLessThanOrEqual(10);
  });

  test("a message of 2 MiB is refused by the library; so is one of 9 MiB between members", async () => {
    const name = "n".repeat(2 * 1024 * 1024);
    const error = await refusal(follower.deleteMember({ name }), RESOURCE_EXHAUSTED, "INVALID_REQUEST");
    expect(error.details).toContain("larger than max");
    const large = await refusal(
      publish(follower, { version: "v".repeat(9 * 1024 * 1024) }),
      RESOURCE_EXHAUSTED,
      "INVALID_REQUEST",
    );
    expect(large.details).toContain("larger than max");
  });

  const RPCS = ["GetMembers", "AddMember", "UpdateMember", "DeleteMember", "GetCluster", "UpdateAdminURL"];
  const PATHS = [
    ...RPCS.map((rpc) => `/muster.v1.MembershipService/${rpc}`),
    "/muster.raft.v1.RaftService/Publish",
    "/muster.raft.v1.RaftService/Hello",
  ];
  test.each(PATHS)("%s: bytes that do not decode", async (path) => {
    const url = path.startsWith("/muster.v1") ? follower.config.adminUrl : follower.config.peerUrl;
    const bad = [
      Buffer.from([0x0a, 0xff]),
      Buffer.from([0x0b]),
      Buffer.alloc(64, 0xff),
      Buffer.from([0x0a, 0x7f, 1]),
    ];
    for (const bytes of bad) {
      expect(await rawCall(url, path, bytes)).toMatchObject({
        code: INVALID_ARGUMENT,
        reason: "INVALID_REQUEST",
      });
    }
    // Random bytes may decode to any request, but always get an answer with a known status.
    for (let seed = 1; seed <= 40; seed++) {
      const error = await rawCall(url, path, pseudoRandomBytes(1 + ((seed * 37) % 300), seed));
      if (error !== null)
        expect({ seed, ...error }).toMatchObject({ code: INVALID_ARGUMENT, reason: "INVALID_REQUEST" });
    }
  });

  test("a method that does not exist, and the peers' service at the clients' listener", async () => {
    const { adminUrl, peerUrl } = follower.config;
    const nothing = Buffer.alloc(0);
    expect(await rawCall(adminUrl, "/muster.v1.MembershipService/No", nothing)).toMatchObject({
      code: UNIMPLEMENTED,
    });
    expect(await rawCall(adminUrl, "/muster.raft.v1.RaftService/Hello", nothing)).toMatchObject({
      code: UNIMPLEMENTED,
    });
    expect(await rawCall(peerUrl, "/muster.raft.v1.RaftService/No", nothing)).toMatchObject({
      code: UNIMPLEMENTED,
    });
  });

  test("bytes that are not HTTP/2, on both listeners", async () => {
    const texts = [
      Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
      pseudoRandomBytes(5000, 9),
      Buffer.alloc(0),
    ];
    for (const url of [follower.config.adminUrl, follower.config.peerUrl]) {
      for (const bytes of texts) {
        await new Promise<void>((resolve) => {
          const socket = connect(Number(new URL(url).port), "127.0.0.1", () => {
            socket.write(bytes);
            socket.end();
          });
          socket.on("error", () => undefined);
          socket.on("close", () => {
            resolve();
          });
          socket.resume();
        });
      }
    }
  });

  test("an unknown consistency is refused; numbers at their limits have an answer", async () => {
    await refusal(follower.getMembers(77 as 0), INVALID_ARGUMENT, "INVALID_REQUEST");
    await refusal(follower.getCluster(-1 as 0), INVALID_ARGUMENT, "INVALID_REQUEST");
    const call = follower.deleteMember({ name: "n1", expectedRevision: 2n ** 64n - 1n });
    await refusal(call, INVALID_ARGUMENT, "INVALID_REQUEST");
    const latest = follower.deleteMember({ name: "n1", expectedRevision: BigInt(Number.MAX_SAFE_INTEGER) });
    await refusal(latest, status.ABORTED, "REVISION_MISMATCH");
  });

  test("deadlines at their limits: past, tiny, and of many days", async () => {
    const past = await follower
      .getMembers(1, { timeoutMs: -5 })
      .catch((error: unknown) => readError(error as ServiceError));
    expect(past).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    const tiny = await follower
      .updateAdminUrl({ name: "nobody", adminUrls: ["http://h:1"] }, { timeoutMs: 1 })
      .catch((error: unknown) => readError(error as ServiceError));
    expect([status.DEADLINE_EXCEEDED, status.NOT_FOUND]).toContain((tiny as { code: number }).code);
    // The library has a limit of about 25 days.
    await follower.getMembers(1, { timeoutMs: 20 * 24 * 3600 * 1000 });
    await follower.getCluster(1, { timeoutMs: 20 * 24 * 3600 * 1000 });
  });
});

describe("many calls", () => {
  test("1,000 at once, of every kind: each gets its answer", async () => {
    const calls = Array.from({ length: 1000 }, async (_, i) => {
      const member = cluster.members[i % 3] ?? leader;
      switch (i % 5) {
        case 0:
          return member.getMembers();
        case 1:
          return member.getCluster();
        case 2:
          return member.updateAdminUrl(
            { name: "n2", adminUrls: [`http://127.0.0.1:${String(i)}`] },
            { timeoutMs: 60_000 },
          );
        case 3:
          return refusal(
            member.deleteMember({ name: `x${String(i)}` }, { timeoutMs: 60_000 }),
            status.NOT_FOUND,
            "MEMBER_NOT_FOUND",
          );
        default:
          return refusal(member.addMember({ name: "", peerUrl: "" }), INVALID_ARGUMENT, "INVALID_REQUEST");
      }
    });
    expect(await Promise.all(calls)).toHaveLength(1000);
  });

  test("1,000 quick cancellations", async () => {
    for (const member of [follower, leader]) {
      // On a separate connection, because HTTP/2 may close one on which so many calls are reset.
      const client = new MembershipServiceClient(
        new URL(member.config.adminUrl).host,
        credentials.createInsecure(),
        {
          "grpc.use_local_subchannel_pool": 1,
        },
      );
      const codes = await Promise.all(
        Array.from({ length: 1000 }, (_, i) => {
          return new Promise<number>((resolve) => {
            const done = (error: ServiceError | null): void => {
              resolve(error?.code ?? status.OK);
            };
            const write = { requestId: "", expectedRevision: 0n, validateOnly: false, note: "" };
            const metadata = new Metadata();
            const call =
              i % 2 === 0
                ? client.getMembers({ consistency: 1 }, metadata, done)
                : client.updateAdminUrl(
                    { id: "", name: "n2", adminUrls: [`http://127.0.0.1:${String(3000 + i)}`], ...write },
                    metadata,
                    done,
                  );
            if (i % 3 === 0) call.cancel();
            else setImmediate(() => call.cancel());
          });
        }),
      );
      expect(
        codes.filter((code) => code !== CANCELLED && code !== status.OK && code !== status.UNAVAILABLE),
      ).toEqual([]);
      expect(codes.filter((code) => code === CANCELLED).length).toBeGreaterThan(500);
      client.close();
    }
  });
});

describe("peer streams that are refused", () => {
  const cases: [string, (to: TestMember) => Parameters<typeof strangersHandshake>[1], number, string][] = [
    [
      "another cluster",
      (to) => ({ clusterId: to.replica.clusterId ^ 1n }),
      FAILED_PRECONDITION,
      "CLUSTER_ID_MISMATCH",
    ],
    ["no cluster", () => ({ clusterId: 0n }), FAILED_PRECONDITION, "CLUSTER_ID_MISMATCH"],
    ["meant for another member", () => ({ toMemberId: 5n }), FAILED_PRECONDITION, "MEMBER_MISMATCH"],
    ["no id", () => ({ memberId: 0n }), INVALID_ARGUMENT, "INVALID_REQUEST"],
    ["a reserved id", () => ({ memberId: 2n ** 64n - 1n }), INVALID_ARGUMENT, "INVALID_REQUEST"],
    ["a short instance id", () => ({ instanceId: Buffer.alloc(15) }), INVALID_ARGUMENT, "INVALID_REQUEST"],
    ["another wire version", () => ({ wireVersion: 2 }), INVALID_ARGUMENT, "INVALID_REQUEST"],
    ["a peer URL of 2 KB", () => ({ peerUrl: "x".repeat(2048) }), INVALID_ARGUMENT, "INVALID_REQUEST"],
  ];
  test.each(cases)("%s", async (_what, overrides, code, reason) => {
    for (const to of [leader, follower]) {
      const stream = new PeerStream(to, strangersHandshake(to, overrides(to)));
      expect(await stream.refused()).toMatchObject({ code, reason });
      expect(stream.accepted).toBe(false);
    }
  });

  test("the receiver's own id, with another instance", async () => {
    const handshake = strangersHandshake(follower, { memberId: follower.replica.id });
    expect(await new PeerStream(follower, handshake).refused()).toMatchObject({ reason: "MEMBER_WIPED" });
  });

  test("garbage instead of a handshake, no handshake, and messages before the handshake", async () => {
    const invalid = { code: INVALID_ARGUMENT, reason: "INVALID_REQUEST" };
    expect(await rawExchange(follower, [Buffer.alloc(100, 0xff)])).toMatchObject(invalid);
    expect(await rawExchange(follower, [Buffer.alloc(0)])).toMatchObject(invalid);
    expect(await rawExchange(follower, [pseudoRandomBytes(3000, 4)])).toMatchObject(invalid);
  });

  test("garbage after the handshake, and a second handshake", async () => {
    const stream = await new PeerStream(follower, strangersHandshake(follower)).untilAccepted();
    stream.sendRequest({ handshake: stream.handshake, messages: [], rosterDigest: undefined });
    expect(await stream.refused()).toMatchObject({ code: INVALID_ARGUMENT, reason: "INVALID_REQUEST" });
    // A new stream of the same member ends the older one.
    const older = await new PeerStream(follower, strangersHandshake(follower)).untilAccepted();
    const newer = await new PeerStream(follower, strangersHandshake(follower)).untilAccepted();
    expect(await older.refused()).toBeNull();
    expect(newer.isOver).toBe(false);
    newer.close();
  });

  test("many short streams of unknown members", async () => {
    for (let i = 0; i < 100; i++) {
      const memberId = 1000n + BigInt(i);
      const peerUrl = `http://127.0.0.1:${String(1 + i)}`;
      const stream = await new PeerStream(
        follower,
        strangersHandshake(follower, { memberId, peerUrl }),
      ).untilAccepted();
      stream.close();
    }
  });
});

describe("messages of a member that was never added", () => {
  /** Messages of every type, including the core's local ones, with boundary values in every field. */
  function* hostile(to: TestMember): Generator<Parameters<typeof wireMessage>[0]> {
    const { term, lastIndex, committed } = to.replica;
    const terms = [0, 1, term, term + 1, 2 ** 40, Number.MAX_SAFE_INTEGER];
    const entry = { term: 1, index: 1, type: 0 as const, data: Buffer.from("junk"), confChange: undefined };
    for (let type = 0; type <= 30; type++) {
      for (const at of terms) {
        yield { type, term: at };
        yield {
          type,
          term: at,
          index: lastIndex + 1000,
          logTerm: at,
          commit: lastIndex + 2000,
          context: 7n,
          rejectHint: 9,
        };
        yield {
          type,
          term: at,
          index: lastIndex + 5,
          logTerm: 1,
          entries: [{ ...entry, index: lastIndex + 6 }],
        };
        yield {
          type,
          term: at,
          index: Number.MAX_SAFE_INTEGER,
          commit: Number.MAX_SAFE_INTEGER,
          reject: true,
        };
        yield {
          type,
          term: at,
          index: committed,
          logTerm: 1,
          entries: [{ ...entry, type: 9 as 0, index: committed + 1 }],
        };
        yield { type, term: at, forced: true, index: lastIndex, logTerm: term };
      }
    }
  }

  test.each(["a follower", "the leader"])(
    "to %s: no member ends, and no term has two leaders",
    async (where) => {
      const to = where === "the leader" ? leader : follower;
      const stream = await new PeerStream(to, strangersHandshake(to)).untilAccepted();
      for (const message of hostile(to)) stream.send(message);
      await cluster.leader();
      await leader.getMembers();
      stream.close();
    },
  );

  test("messages with another member's id as sender or as receiver", async () => {
    const stream = await new PeerStream(follower, strangersHandshake(follower)).untilAccepted();
    const term = leader.replica.term + 1;
    stream.send({ type: 8, term, from: leader.replica.id });
    stream.send({ type: 8, term, to: leader.replica.id });
    stream.send({ type: 8, term: term - 1, commit: Number.MAX_SAFE_INTEGER });
    await follower.getMembers();
    expect(follower.replica.term).toBe(term - 1);
    stream.close();
  });

  test("terms far ahead are ignored, so that the range of terms is not used up", async () => {
    const { replica } = follower;
    const { term } = replica;
    const stream = await new PeerStream(follower, strangersHandshake(follower)).untilAccepted();
    for (const type of [3, 5, 8, 17]) {
      for (const at of [2 ** 32, 2 ** 50, Number.MAX_SAFE_INTEGER - 2 ** 40, Number.MAX_SAFE_INTEGER]) {
        stream.send({ type, term: at, forced: true });
      }
    }
    // A term that is a little ahead is accepted and causes one election. It is sent last.
    stream.send({ type: 8, term: term + 1000 });
    await until("the last one arrived", () => replica.term >= term + 1000);
    await cluster.leader();
    expect(replica.term).toBeLessThan(term + 2000);
    stream.close();
  });

  test("snapshots that are invalid, empty or cut short", async () => {
    const term = leader.replica.term + 1;
    const voters = cluster.members.map((member) => member.replica.id).sort((a, b) => (a < b ? -1 : 1));
    const confState = { voters, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const handshake = strangersHandshake(follower);
    const index = follower.replica.lastIndex + 100;
    const message = wireMessage({
      type: 7,
      from: handshake.memberId,
      to: handshake.toMemberId,
      term,
      snapshot: { index, term, confState },
    });
    const applied = follower.replica.applied;
    const data = Buffer.from("this is no roster");
    const first = { handshake, message, sizeBytes: data.length, chunk: data, crc32: undefined };
    const taken = await sendSnapshot(follower, [{ ...first, crc32: crc32(data) }]);
    // It arrived completely, but is dropped because it can't be restored.
    expect(taken).toBeNull();
    for (const requests of [
      [first],
      [{ ...first, crc32: crc32(data) + 1 }],
      [{ ...first, sizeBytes: 5, crc32: crc32(data) }],
      [{ ...first, sizeBytes: Number.MAX_SAFE_INTEGER, crc32: crc32(data) }],
      [{ ...first, message: undefined, crc32: crc32(data) }],
      [{ ...first, handshake: undefined, crc32: crc32(data) }],
      [{ ...first, message: { ...message, snapshot: undefined }, crc32: crc32(data) }],
      [],
    ]) {
      const refused = await sendSnapshot(follower, requests);
      expect(refused?.reason).toBe("INVALID_REQUEST");
    }
    expect(follower.replica.applied).toBeGreaterThanOrEqual(applied);
    expect(follower.replica.applied).toBeLessThan(index);
  });
});
