/** MembershipService over a backend that decides nothing: what is checked, what is handed on, and what is answered. */
import type { Call } from "../../src/base/call";
import {
  AddMemberRequest,
  Consistency,
  DeleteMemberRequest,
  GetClusterRequest,
  type GetClusterResponse,
  GetMembersResponse,
  MembershipServiceService,
  ReplaceMemberRequest,
  UpdateAdminURLRequest,
  UpdateClusterSettingsRequest,
  UpdateMemberRequest,
} from "../../src/generated/muster/v1/membership_service";
import { formatId, refused, toMember } from "../../src/roster/index";
import { methodName } from "../../src/rpc/definition";
import { MembershipService } from "../../src/services/membership";
import type { PeerRequest } from "../../src/transport/peer_calls";
import { ManualClock } from "../base/support/manual_clock";
import { memberOf } from "../roster/support/log";
import { CountingRandom, FakeBackend, WALL_MS, callOf, refusalOf } from "./support/fake_backend";

let fake: FakeBackend;
let random: CountingRandom;
let isServing: boolean;
let service: MembershipService;

beforeEach(() => {
  fake = new FakeBackend();
  random = new CountingRandom();
  isServing = true;
  service = new MembershipService({
    backend: () => (isServing ? fake.backend : null),
    clock: new ManualClock(),
    random,
    wallNow: () => WALL_MS,
  });
});

const WRITES = {
  addMember: AddMemberRequest.fromPartial({ name: "n4", peerUrl: "http://10.0.0.4:7461" }),
  updateMember: UpdateMemberRequest.fromPartial({ name: "n2", newPeerUrl: "http://10.0.0.9:7461" }),
  deleteMember: DeleteMemberRequest.fromPartial({ name: "n2" }),
  replaceMember: ReplaceMemberRequest.fromPartial({
    name: "n2",
    newName: "n9",
    peerUrl: "http://10.0.0.9:7461",
  }),
  updateClusterSettings: UpdateClusterSettingsRequest.fromPartial({ autoPromote: false }),
  updateAdminUrl: UpdateAdminURLRequest.fromPartial({ name: "n2", adminUrls: ["http://10.0.0.2:7460"] }),
};
type WriteName = keyof typeof WRITES;
const WRITE_NAMES = Object.keys(WRITES) as WriteName[];

type Handler = (request: unknown, call: Call) => Promise<unknown>;

/** Calls a method by its name, as its caller or as a member that forwards. */
function invoke(name: keyof MembershipService["handlers"], request: unknown): Promise<unknown> {
  const { path } = MembershipServiceService[name];
  return (service.handlers[name] as Handler)(request, callOf(methodName(path)));
}

/** The handler's answer to a call that arrives encoded, as another member forwards it. */
function invokeForwarded({ path, body }: PeerRequest): Promise<unknown> {
  for (const [name, method] of Object.entries(MembershipServiceService)) {
    if (method.path !== path) continue;
    return invoke(name as WriteName, method.requestDeserialize(Buffer.from(body)));
  }
  throw new Error(`no method ${path}`);
}

test.each(Object.keys(MembershipServiceService) as (keyof MembershipService["handlers"])[])(
  "%s without a backend: SERVER_STOPPING",
  async (name) => {
    isServing = false;
    const request = { ...(WRITES as Record<string, object>)[name], consistency: Consistency.SERIALIZABLE };
    const { refusal } = await refusalOf(invoke(name, request));
    expect(refusal.reason).toBe("SERVER_STOPPING");
  },
);

describe("a write", () => {
  test.each([
    [
      "addMember",
      { name: "a b", peerUrl: "ftp://h:1", adminUrl: "h", requestId: "\u00e9", expectedRevision: -1n },
      ["name", "peer_url", "admin_url", "request_id", "expected_revision"],
    ],
    ["updateMember", { name: "", id: "", newPeerUrl: "" }, ["new_peer_url", "name"]],
    ["deleteMember", { name: "n2", id: "xyz", peerUrl: "http://h" }, ["peer_url", "id"]],
    ["updateAdminUrl", { name: "n2", adminUrls: ["http://h:1", "nonsense"] }, ["admin_urls[1]"]],
    ["updateAdminUrl", { name: "n2", adminUrls: [] }, ["admin_urls"]],
  ] as const)(
    "%s with errors of form names every field, and goes no further: %j",
    async (name, wrong, fields) => {
      const { refusal } = await refusalOf(invoke(name, { ...WRITES[name], ...wrong }));
      expect(refusal.reason).toBe("INVALID_REQUEST");
      expect(refusal.violations?.map(({ field }) => field).sort()).toEqual([...fields].sort());
      expect([fake.writes, random.drawn]).toEqual([[], 0]);
    },
  );

  test.each(WRITE_NAMES)(
    "%s without a request_id gets one, the same in every attempt and at the leader",
    async (name) => {
      await invoke(name, WRITES[name]);
      const [write] = fake.writes;
      const ids = write?.commands.map(({ requestId }) => requestId) ?? [];
      expect(ids).toEqual(["uuid-1", "uuid-1"]);
      for (const { path, body } of write?.forwards ?? []) {
        expect(path).toBe(MembershipServiceService[name].path);
        const sent = MembershipServiceService[name].requestDeserialize(Buffer.from(body));
        expect(sent).toEqual({ ...WRITES[name], requestId: "uuid-1" });
      }
    },
  );

  test.each(WRITE_NAMES)(
    "%s has its note and its caller in the command, and its note at the leader",
    async (name) => {
      await invoke(name, { ...WRITES[name], note: "why" });
      const [write] = fake.writes;
      const kept = write?.commands.map(({ note, caller }) => [note, caller]);
      expect(kept).toEqual(Array(2).fill(["why", "anonymous"]));
      const body = Buffer.from(write?.forwards[0]?.body ?? []);
      expect(MembershipServiceService[name].requestDeserialize(body).note).toBe("why");
    },
  );

  test.each(WRITE_NAMES)("%s keeps the request_id that its caller chose", async (name) => {
    const request = { ...WRITES[name], requestId: "mine" };
    await invoke(name, request);
    const [write] = fake.writes;
    expect(write?.commands.map(({ requestId }) => requestId)).toEqual(["mine", "mine"]);
    const sent = MembershipServiceService[name].requestDeserialize(
      Buffer.from(write?.forwards[0]?.body ?? []),
    );
    expect(sent).toEqual(request);
  });

  test.each(WRITE_NAMES)(
    "%s has one fingerprint, here and forwarded, with a request_id or without",
    async (name) => {
      for (const requestId of ["", "mine"]) {
        fake.writes.length = 0;
        await invoke(name, { ...WRITES[name], requestId, expectedRevision: 3n });
        const forward = fake.writes[0]?.forwards[0];
        if (forward === undefined) throw new Error("nothing was forwarded");
        await invokeForwarded(forward);
        const [here, there] = fake.writes.map(({ commands }) => commands[0]);
        expect(here?.fingerprint.length).toBe(32);
        expect(there?.fingerprint).toEqual(here?.fingerprint);
        expect(there).toMatchObject({ requestId: here?.requestId, expectedRevision: 3 });
      }
    },
  );

  test("another method, another content: another fingerprint", async () => {
    await invoke("deleteMember", { ...WRITES.deleteMember, requestId: "mine" });
    await invoke("deleteMember", { ...WRITES.deleteMember, name: "n3", requestId: "mine" });
    await service.handlers.deleteMember({ ...WRITES.deleteMember, requestId: "mine" }, callOf("Another"));
    const prints = fake.writes.map(({ commands }) => commands[0]?.fingerprint.toString("hex"));
    expect(new Set(prints).size).toBe(3);
  });

  test.each(WRITE_NAMES)(
    "%s: each attempt is a proposal of its own, at the time of the proposer",
    async (name) => {
      await invoke(name, WRITES[name]);
      const commands = fake.writes[0]?.commands ?? [];
      expect(commands[0]?.proposalId).not.toBe(commands[1]?.proposalId);
      expect(commands.map(({ timeMs }) => timeMs)).toEqual([WALL_MS, WALL_MS]);
    },
  );

  test("its fields are in the command, in normal form", async () => {
    await invoke("addMember", { ...WRITES.addMember, peerUrl: "HTTP://N4:07461", adminUrl: "http://n4:80" });
    await invoke("updateMember", { ...WRITES.updateMember, id: "2" });
    await invoke("deleteMember", { ...WRITES.deleteMember, peerUrl: "http://H:1" });
    await invoke("updateAdminUrl", WRITES.updateAdminUrl);
    const bodies = fake.writes.map(({ commands }) => commands[0]?.body);
    expect(bodies).toMatchObject([
      { $case: "addMember", value: { name: "n4", peerUrl: "http://n4:7461", adminUrls: ["http://n4:80"] } },
      {
        $case: "updateMember",
        value: { member: { id: 2n, name: "n2" }, newPeerUrl: "http://10.0.0.9:7461" },
      },
      { $case: "removeMember", value: { member: { id: 0n, name: "n2" }, peerUrl: "http://h:1" } },
      { $case: "updateAdminUrls", value: { member: { name: "n2" }, adminUrls: ["http://10.0.0.2:7460"] } },
    ]);
  });

  test("its id is one that no member and no tombstone has", async () => {
    const idOf = async (): Promise<bigint> => {
      fake.writes.length = 0;
      random.drawn = 0;
      await invoke("addMember", WRITES.addMember);
      const body = fake.writes[0]?.commands[0]?.body;
      if (body?.$case !== "addMember") throw new Error("no AddMember command");
      return body.value.id;
    };
    const free = await idOf();
    expect(await idOf()).toBe(free);
    const taken = jest
      .spyOn(fake.roster, "member")
      .mockImplementation((id) => (id === free ? ({} as never) : null));
    const second = await idOf();
    expect(second).not.toBe(free);
    taken.mockRestore();
    jest.spyOn(fake.roster, "tombstone").mockImplementation((id) => (id === free ? ({} as never) : null));
    expect(await idOf()).toBe(second);
  });

  test.each(["addMember", "updateMember", "deleteMember"] as const)(
    "%s is answered with the decision's revision, its member and all members",
    async (name) => {
      expect(await invoke(name, WRITES[name])).toEqual({
        header: { clusterId: "c1", memberId: "1", revision: 77n, raftTerm: 4n, leaderId: "2" },
        member: toMember(memberOf(fake.roster, 2)),
        members: fake.roster.members().map(toMember),
        quorumSteps: [],
      });
    },
  );

  test("replaceMember is side by side with another name only; what is left out is left to apply", async () => {
    const replacementOf = async (request: Partial<ReplaceMemberRequest>) => {
      fake.writes.length = 0;
      await invoke("replaceMember", { ...WRITES.replaceMember, ...request });
      const body = fake.writes[0]?.commands[0]?.body;
      if (body?.$case !== "replaceMember") throw new Error("no ReplaceMember command");
      const { sideBySide, replacement } = body.value;
      return [sideBySide, replacement?.name, replacement?.peerUrl, replacement?.learner];
    };
    const peerUrl = "http://n9:1";
    expect(await replacementOf({})).toEqual([true, "n9", "http://10.0.0.9:7461", true]);
    expect(await replacementOf({ name: "", id: "2" })).toEqual([true, "n9", "http://10.0.0.9:7461", true]);
    expect(await replacementOf({ newName: "", peerUrl: "" })).toEqual([false, "", "", true]);
    expect(await replacementOf({ newName: "", peerUrl })).toEqual([false, "", peerUrl, true]);
    expect(await replacementOf({ newName: "n2", peerUrl })).toEqual([false, "n2", peerUrl, true]);
    expect((await replacementOf({ name: "", id: "2", newName: "n2" })).slice(0, 2)).toEqual([false, "n2"]);
    // Not known here, as where the roster is behind: the name that the caller gives tells.
    expect((await replacementOf({ name: "n7", newName: "n7" })).slice(0, 2)).toEqual([false, "n7"]);
    expect((await replacementOf({ name: "n7", newName: "n8" })).slice(0, 2)).toEqual([true, "n8"]);
  });

  test("updateClusterSettings is answered with the settings, and a dry run with what they would be", async () => {
    const request = {
      ...WRITES.updateClusterSettings,
      removeUnstartedAfter: { seconds: 90n, nanos: 1_000_000 },
    };
    const zero = { seconds: 0n, nanos: 0 };
    const now = { autoPromote: true, standbyTakeoverAfter: zero, removeUnstartedAfter: zero };
    expect(await invoke("updateClusterSettings", request)).toMatchObject({
      header: { revision: 77n },
      settings: now,
    });
    expect(fake.writes[0]?.commands[0]?.body).toEqual({
      $case: "updateSettings",
      value: {
        autoPromote: false,
        standbyTakeoverAfter: undefined,
        removeUnstartedAfter: { ms: 90_001 },
      },
    });
    expect(await invoke("updateClusterSettings", { ...request, validateOnly: true })).toMatchObject({
      settings: { ...now, autoPromote: false, removeUnstartedAfter: { seconds: 90n, nanos: 1_000_000 } },
    });
  });

  test("the quorum's steps are in the answer to a dry run, as the leader found them", async () => {
    const step = { description: "now", voters: 3, quorumSize: 2, failuresTolerated: 1 };
    fake.decision = { ...fake.decision, quorumSteps: [step] };
    for (const name of ["addMember", "deleteMember", "replaceMember"] as const)
      expect(await invoke(name, { ...WRITES[name], validateOnly: true })).toMatchObject({
        quorumSteps: [step],
      });
  });

  test("updateAdminUrl is answered with the decision's revision and its member", async () => {
    expect(await invoke("updateAdminUrl", WRITES.updateAdminUrl)).toEqual({
      header: { clusterId: "c1", memberId: "1", revision: 77n, raftTerm: 4n, leaderId: "2" },
      member: toMember(memberOf(fake.roster, 2)),
    });
  });

  test("without a known leader the header names none; without a member the answer has none", async () => {
    fake.replica.leader = 0n;
    fake.decision = { ...fake.decision, member: null };
    expect(await invoke("deleteMember", WRITES.deleteMember)).toMatchObject({
      header: { leaderId: "" },
      member: undefined,
    });
  });

  test.each(WRITE_NAMES)(
    "%s hands validate_only on; only the id of an added member is left empty",
    async (name) => {
      const answer = (await invoke(name, { ...WRITES[name], validateOnly: true })) as {
        member?: { id: string };
      };
      expect(fake.writes[0]?.validateOnly).toBe(true);
      const adds = name === "addMember" || name === "replaceMember";
      expect(answer.member?.id).toBe(name === "updateClusterSettings" ? undefined : adds ? "" : "2");
      expect(formatId(memberOf(fake.roster, 2).id)).toBe("2");
      await invoke(name, WRITES[name]);
      expect(fake.writes[1]?.validateOnly).toBe(false);
    },
  );

  test("has its call handed on, with the time it has left", async () => {
    const call = callOf("DeleteMember");
    await service.handlers.deleteMember(WRITES.deleteMember, call);
    expect(fake.writes[0]?.call).toBe(call);
  });
});

const LINEARIZABLE = [Consistency.UNSPECIFIED, Consistency.LINEARIZABLE];

test.each(["getMembers", "getCluster"] as const)(
  "%s refuses a consistency that it does not know",
  async (rpc) => {
    for (const consistency of [3, 99, -1]) {
      const { refusal } = await refusalOf(invoke(rpc, { consistency }));
      expect(refusal.violations).toMatchObject([{ field: "consistency" }]);
      expect(refusal.message).toContain(`${consistency} is not known`);
    }
    expect([fake.confirmed, fake.asked]).toEqual([[], []]);
  },
);

describe("getMembers", () => {
  const get = async (consistency: Consistency = Consistency.SERIALIZABLE): Promise<Buffer> => {
    const answer = await invoke("getMembers", { consistency });
    if (!Buffer.isBuffer(answer)) throw new Error("the answer is not encoded");
    return answer;
  };

  test("is answered with header and members", async () => {
    expect(GetMembersResponse.decode(await get())).toEqual({
      header: { clusterId: "c1", memberId: "1", revision: 3n, raftTerm: 4n, leaderId: "2" },
      members: fake.roster.members().map(toMember),
    });
  });

  test.each(LINEARIZABLE)("with consistency %d is confirmed first", async (consistency) => {
    let confirm: () => void = () => undefined;
    fake.confirm = () => new Promise((resolve) => (confirm = resolve));
    const answer = get(consistency);
    expect(fake.confirmed).toHaveLength(1);
    // What is applied while the read waits is in the answer.
    fake.replica.term = 5;
    confirm();
    expect(GetMembersResponse.decode(await answer).header?.raftTerm).toBe(5n);
    // Nor is it kept as the answer of the state before.
    fake.replica.term = 4;
    expect(GetMembersResponse.decode(await get()).header?.raftTerm).toBe(4n);
  });

  test("with consistency SERIALIZABLE is not confirmed", async () => {
    await get(Consistency.SERIALIZABLE);
    expect(fake.confirmed).toEqual([]);
  });

  test("that is not confirmed fails with that error", async () => {
    const failure = refused("NO_QUORUM", "no quorum");
    fake.confirm = () => Promise.reject(failure);
    expect(await refusalOf(get(Consistency.LINEARIZABLE))).toBe(failure);
  });

  test("is encoded once for the same revision, term and leader, and anew for any other", async () => {
    const first = await get();
    expect(await get(Consistency.LINEARIZABLE)).toBe(first);
    const seen = new Set([first]);
    for (const change of [{ term: 5 }, { leader: 3n }, { leader: 0n }]) {
      Object.assign(fake.replica, change);
      const answer = await get();
      expect(seen.has(answer)).toBe(false);
      expect(await get()).toBe(answer);
      seen.add(answer);
    }
    const roster = { revision: 4, members: () => fake.roster.members().slice(1) };
    Object.assign(fake.replica, { roster });
    const { header, members } = GetMembersResponse.decode(await get());
    expect([header?.revision, header?.leaderId, members.length]).toEqual([4n, "", 2]);
  });
});

describe("getCluster", () => {
  const get = (consistency: Consistency): Promise<unknown> => invoke("getCluster", { consistency });

  test("with consistency SERIALIZABLE is answered here, without what only a leader knows", async () => {
    fake.leaderAnswer = Buffer.from("not asked");
    const answer = (await get(Consistency.SERIALIZABLE)) as GetClusterResponse;
    expect(answer).toMatchObject({ quorumSize: 2, commitIndex: 9n, appliedIndex: 8n });
    expect([answer.failuresTolerated, answer.failuresToleratedKnown]).toEqual([0, false]);
    expect(answer.header?.revision).toBe(3n);
    expect(answer.members.map(({ isLeader, matchIndex }) => [isLeader, matchIndex])).toEqual([
      [false, undefined],
      [true, undefined],
      [false, undefined],
    ]);
    expect([fake.asked, fake.confirmed]).toEqual([[], []]);
  });

  test.each(LINEARIZABLE)("with consistency %d is the leader's answer, as it came", async (consistency) => {
    fake.leaderAnswer = Buffer.from("the leader's bytes");
    expect(await get(consistency)).toBe(fake.leaderAnswer);
    expect(fake.asked).toHaveLength(1);
    const [{ path, body } = { path: "", body: new Uint8Array() }] = fake.asked;
    expect(path).toBe(MembershipServiceService.getCluster.path);
    expect(GetClusterRequest.decode(body)).toEqual({ consistency });
  });

  test("on the leader says what it knows of each member", async () => {
    fake.replica.leader = 1n;
    const { members } = (await get(Consistency.LINEARIZABLE)) as GetClusterResponse;
    expect(members.map(({ matchIndex, reachable }) => [matchIndex, reachable])).toEqual([
      [10n, true],
      [0n, false],
      [0n, false],
    ]);
  });
});
