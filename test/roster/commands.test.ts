/** Commands: their bytes, the membership change of each, and the fingerprint that distinguishes requests. */
import type { RosterCommand } from "../../src/generated/muster/storage/v1/command";
import {
  changeMembersCommand,
  checkAddMember,
  checkChangeMembers,
  COMMAND_VERSIONS,
  CommandKind,
  confChange,
  decodeCommand,
  encodeCommand,
  fingerprint,
  MemberTarget,
  needsConfChange,
  promoteMemberCommand,
  refuseCommand,
  refused,
  replaceMemberCommand,
  UnknownCommandError,
  updateSettingsCommand,
} from "../../src/roster/index";
import { ConfChangeTransition, ConfChangeType } from "../../src/raft/index";
import {
  add,
  adminUrls,
  by,
  entryFor,
  envelope,
  move,
  newMember,
  publish,
  remove,
  request,
  rosterOf,
  sha256,
} from "./support/log";

const promote = promoteMemberCommand(envelope({ settingsRevision: 0 }), { member: by({ name: "n2" }) });
const replace = replaceMemberCommand(envelope(), {
  member: by({ name: "n2" }),
  peerUrl: "",
  replacement: newMember(9),
});

const EVERY_COMMAND: readonly RosterCommand[] = [
  add(
    4,
    { learner: true, adminUrls: ["http://a:1"], target: MemberTarget.STANDBY },
    request("r1", "c", { expectedRevision: 5 }),
  ),
  move({ name: "n2" }, "http://b:1"),
  remove({ id: 2n }, "http://b:1"),
  adminUrls({ id: 2n, name: "n2" }, ["http://a:1", "http://a:2"]),
  publish(2),
  promote,
  replace,
  changeMembersCommand(envelope(), {
    promote: [by({ name: "n4" })],
    demote: [by({ id: 2n })],
    remove: [by({ name: "n3" }), by({ id: 1n, name: "n1" })],
    standBy: [by({ id: 5n })],
  }),
  updateSettingsCommand(request("r2"), {
    autoPromote: false,
    standbyTakeoverAfterMs: 0,
    removeUnstartedAfterMs: undefined,
  }),
  refuseCommand(add(4, {}, request("r1")), 8n, refused("UNHEALTHY_CLUSTER", "no", { k: "v" }).refusal),
];

describe("encoding and decoding a command", () => {
  test.each(EVERY_COMMAND.map((command) => [command.body?.$case, command] as const))("%s", (_, command) => {
    expect(decodeCommand(encodeCommand(command))).toEqual(command);
  });

  test("every kind of the contract is known, and tested here", () => {
    const declared = Object.values(CommandKind).filter((kind) => kind > 0);
    expect([...COMMAND_VERSIONS.keys()].sort()).toEqual(declared.sort());
    expect(EVERY_COMMAND.map(({ kind }) => kind).sort()).toEqual([...declared].sort());
    for (const command of EVERY_COMMAND) expect(command.version).toBe(COMMAND_VERSIONS.get(command.kind));
  });
});

describe("a command that is not known stops the member", () => {
  const known = add(4);
  test.each<[string, Uint8Array]>([
    ["a kind of the future", encodeCommand({ ...known, kind: 99 as CommandKind })],
    ["no kind", encodeCommand({ ...known, kind: CommandKind.UNSPECIFIED })],
    ["a version of the future", encodeCommand({ ...known, version: 3 })],
    ["no version", encodeCommand({ ...known, version: 0 })],
    ["no body", encodeCommand({ ...known, body: undefined })],
    ["another kind's body", encodeCommand({ ...known, kind: CommandKind.PUBLISH })],
    ["no bytes", new Uint8Array()],
    ["a truncated command", encodeCommand(known).slice(0, -1)],
    [
      "a revision beyond safe integers",
      new Uint8Array([8, 1, 16, 1, 48, ...new Array<number>(9).fill(255), 1]),
    ],
    ["garbage", new Uint8Array(64).fill(0xff)],
    [
      "a replacement without a member",
      encodeCommand({
        ...replace,
        body: {
          $case: "replaceMember",
          value: { member: by({ id: 1n }), peerUrl: "", replacement: undefined, sideBySide: false },
        },
      }),
    ],
  ])("%s", (_, bytes) => {
    expect(() => decodeCommand(bytes)).toThrow(UnknownCommandError);
  });

  test("and does not change the roster", () => {
    const roster = rosterOf(3);
    const before = roster.hash();
    const entry = { ...entryFor(roster, publish(1)), data: encodeCommand({ ...publish(1), version: 2 }) };
    expect(() => roster.apply(entry)).toThrow(
      "roster command kind 5 version 2 is not known here (known version: 1); start this member with the version",
    );
    expect(roster.appliedIndex).toBe(3);
    expect(roster.hash()).toBe(before);
  });

  test("a membership change without a command is one", () => {
    const roster = rosterOf(3);
    const entry = entryFor(roster, remove({ id: 1n }));
    if (entry.confChange === null) throw new Error("not a membership change");
    const bare = { ...entry, confChange: { ...entry.confChange, context: new Uint8Array() } };
    expect(() => roster.apply(bare)).toThrow(UnknownCommandError);
    expect(() => roster.apply({ ...entry, confChange: null })).toThrow(UnknownCommandError);
    expect(roster.members()).toHaveLength(3);
  });
});

describe("the membership change of a command", () => {
  const roster = rosterOf(3);
  test.each([
    ["a voter", add(4), [{ type: ConfChangeType.AddVoter, nodeId: 4n }]],
    ["a learner", add(4, { learner: true }), [{ type: ConfChangeType.AddLearner, nodeId: 4n }]],
    ["an update", move({ name: "n2" }, "http://b:1"), [{ type: ConfChangeType.Update, nodeId: 2n }]],
    ["a removal by name", remove({ name: "n2" }), [{ type: ConfChangeType.Remove, nodeId: 2n }]],
    ["a removal by id", remove({ id: 3n }), [{ type: ConfChangeType.Remove, nodeId: 3n }]],
    ["a promotion", promote, [{ type: ConfChangeType.AddVoter, nodeId: 2n }]],
  ])("%s", (_, command, changes) => {
    const context = encodeCommand(command);
    expect(needsConfChange(command)).toBe(true);
    expect(confChange(roster, command)).toEqual({ transition: ConfChangeTransition.Auto, changes, context });
  });

  test("a replacement is one joint change", () => {
    expect(confChange(roster, replace)).toMatchObject({
      transition: ConfChangeTransition.JointImplicit,
      changes: [
        { type: ConfChangeType.Remove, nodeId: 2n },
        { type: ConfChangeType.AddVoter, nodeId: 9n },
      ],
    });
  });

  test.each([
    ["admin URLs", adminUrls({ id: 1n }, ["http://a:1"]), false],
    ["publish", publish(1), false],
    ["a member that is not there", remove({ name: "n9" }), true],
    ["an id that is not there", move({ id: 9n, name: "n1" }, "http://b:1"), true],
  ])("none for %s", (_, command, needs) => {
    expect(needsConfChange(command)).toBe(needs);
    expect(confChange(roster, command)).toBeNull();
  });
});

describe("the fingerprint of a request", () => {
  const base = {
    name: "n4",
    peerUrl: "http://a:1",
    adminUrl: "",
    requestId: "r",
    expectedRevision: 0n,
    validateOnly: false,
    note: "",
    target: 0 as MemberTarget,
  };
  const of = (change: Partial<typeof base> = {}, rpc = "AddMember"): string => {
    const checked = checkAddMember({ ...base, ...change });
    if (!checked.ok) throw new Error(checked.refusal.message);
    return Buffer.from(fingerprint(sha256, rpc, checked.value)).toString("hex");
  };

  test("has the same value in every version", () => {
    expect(of()).toBe("a7f2540584459915972bddae9a70a85ddc8c4f1240292ba6b2f1684983d4263a");
  });

  test("of a change tells which members are promoted and which are removed, however many", () => {
    const one = { name: "n1", id: "" };
    const [two, byId] = [
      { name: "n2", id: "" },
      { name: "", id: "b" },
    ];
    const lists = [
      { promote: [one, two], demote: [], remove: [] },
      { promote: [two, one], demote: [], remove: [] },
      { promote: [one], demote: [two], remove: [] },
      { promote: [one], demote: [], remove: [two] },
      { promote: [one], demote: [], remove: [byId] },
    ];
    const prints = lists.map((members) => {
      const checked = checkChangeMembers({ ...base, ...members });
      if (!checked.ok) throw new Error(checked.refusal.message);
      return Buffer.from(fingerprint(sha256, "ChangeMembers", checked.value)).toString("hex");
    });
    expect(new Set(prints).size).toBe(lists.length);
  });

  test("a voter as target is no other request than none: members of older versions know none", () => {
    expect(of({ target: MemberTarget.VOTER })).toBe(of());
    expect(of({ target: MemberTarget.LEARNER })).not.toBe(of());
    expect(of({ target: MemberTarget.STANDBY })).not.toBe(of({ target: MemberTarget.LEARNER }));
  });

  test("does not depend on request_id, validate_only, spelling and the order of properties", () => {
    expect(of({ requestId: "other" })).toBe(of());
    expect(of({ validateOnly: true })).toBe(of());
    expect(of({ peerUrl: "HTTP://A:01" })).toBe(of());
    const fields = {
      requestId: "r",
      expectedRevision: 0,
      validateOnly: false,
      note: "",
      adminUrls: [],
      peerUrl: "http://a:1",
      name: "n4",
    };
    expect(Buffer.from(fingerprint(sha256, "AddMember", fields)).toString("hex")).toBe(of());
  });

  test("depends on every other field", () => {
    const all = [
      of(),
      of({}, "DeleteMember"),
      of({ name: "n5" }),
      of({ peerUrl: "http://a:2" }),
      of({ adminUrl: "http://a:1" }),
      of({ expectedRevision: 3n }),
      of({ note: "why" }),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  test("depends on whether a member is selected by id or by name, and on how a list is split", () => {
    const write = { requestId: "", expectedRevision: 0, validateOnly: false, note: "" };
    const all = [
      { ...write, member: { id: 1n, name: "" } },
      { ...write, member: { id: 0n, name: "1" } },
      { ...write, adminUrls: ["a", "b"] },
      { ...write, adminUrls: ["ab"] },
      { ...write, adminUrls: ["b", "a"] },
    ].map((fields) => Buffer.from(fingerprint(sha256, "X", fields)).toString("hex"));
    expect(new Set(all).size).toBe(all.length);
  });
});
