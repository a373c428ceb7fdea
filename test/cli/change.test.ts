/** What a change does to the quorum: shown by a dry run, and asked about where a person is at the terminal. */
import { status } from "@grpc/grpc-js";
import { main } from "../../src/cli/main";
import {
  AddMemberResponse,
  ChangeMembersResponse,
  DeleteMemberResponse,
  PromoteMemberResponse,
  ReplaceMemberResponse,
  UpdateMemberResponse,
} from "../../src/generated/muster/v1/membership_service";
import { ScriptedServer, refusal } from "../client/support/scripted_server";
import type { Step } from "../client/support/scripted_server";
import { FakeProcess } from "./support/harness";
import { added, header, n2, steps } from "./support/samples";

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(() => {
  server.stop();
});

const lower = steps(["now", 3, 2, 1], ["rack-2.n2 is removed", 2, 2, 0]);
const same = steps(["now", 3, 2, 1], ["n4 joins as a learner", 3, 2, 1], ["n4 votes", 4, 3, 1]);
const SHOWN = `the cluster survives fewer failures after this change:

STEP                  VOTERS  QUORUM  MAY FAIL
now                   3       2       1
rack-2.n2 is removed  2       2       0

go on? [y/N] `;

const removed = DeleteMemberResponse.create({ header, member: n2, members: [] });
const unlessDry = (done: Step, quorumSteps = lower): Step => ({
  decide: ({ validateOnly }) => (validateOnly === true ? { respond: { ...removed, quorumSteps } } : done),
});
const calls = (): unknown[][] =>
  server.calls.map(({ request }) => [request["validateOnly"], request["expectedRevision"]]);

async function run(words: readonly string[], io = new FakeProcess()): Promise<[number, FakeProcess]> {
  return [await main(["--endpoints", server.endpoint, ...words], io), io];
}

describe("a dry run", () => {
  test.each([
    [
      ["add", "n4", "--peer-url", "http://a:1"],
      "addMember",
      AddMemberResponse,
      "member rack-2.n2 can be added",
    ],
    [
      ["update", "n2", "--peer-url", "http://a:1"],
      "updateMember",
      UpdateMemberResponse,
      "member rack-2.n2 can be updated",
    ],
    [["promote", "n2"], "promoteMember", PromoteMemberResponse, "member rack-2.n2 can be promoted"],
    [["remove", "n2"], "deleteMember", DeleteMemberResponse, "member rack-2.n2 can be removed"],
    [["replace", "n2"], "replaceMember", ReplaceMemberResponse, "member n2 can be made anew"],
    [
      ["replace", "n2", "n4", "--peer-url", "http://a:1"],
      "replaceMember",
      ReplaceMemberResponse,
      "member n4 can replace n2",
    ],
  ] as const)("member %j prints the steps", async (words, rpc, type, text) => {
    const respond = type.fromPartial({ header, member: n2, quorumSteps: lower });
    server.on(rpc, { respond });
    const [code, io] = await run(["member", ...words, "--dry-run"], new FakeProcess().answering("n"));
    expect([code, io.err, io.questions]).toEqual([0, "", []]);
    expect(io.out).toBe(`dry run: ${text}; nothing was changed

STEP                  VOTERS  QUORUM  MAY FAIL
now                   3       2       1
rack-2.n2 is removed  2       2       0
`);
    const [, json] = await run(["member", ...words, "--dry-run", "--output", "json"]);
    expect(JSON.parse(json.out)).toMatchObject({ quorumSteps: [{ description: "now", voters: 3 }, {}] });
    expect(server.seen(rpc, "validateOnly")).toEqual([true, true]);
  });

  test("members change prints the steps too", async () => {
    server.on("changeMembers", { respond: ChangeMembersResponse.create({ header, quorumSteps: lower }) });
    const [code, io] = await run(["members", "change", "--remove", "n2", "--dry-run"]);
    expect(code).toBe(0);
    expect(io.out).toMatch(/^dry run: the members can be changed; nothing was changed\n\nSTEP +VOTERS/);
  });

  test("a leader of an older version tells no steps", async () => {
    server.on("deleteMember", { respond: removed });
    const [, io] = await run(["member", "remove", "n2", "--dry-run"]);
    expect(io.out).toBe("dry run: member rack-2.n2 can be removed; nothing was changed\n");
  });
});

describe("on a terminal, a change after which the cluster survives less", () => {
  test.each(["y", "YES", " yes "])("is done after %j, for the roster that was shown", async (word) => {
    server.on("deleteMember", unlessDry({ respond: removed }));
    const [code, io] = await run(["member", "remove", "n2"], new FakeProcess().answering(word));
    expect([code, io.err, io.questions]).toEqual([0, "", [SHOWN]]);
    expect(io.out).toMatch(/^removed member rack-2\.n2/);
    expect(calls()).toEqual([
      [true, 0n],
      [false, header.revision],
    ]);
  });

  test.each(["", "n", "yesterday"])("is not done after %j: code 1", async (word) => {
    server.on("deleteMember", unlessDry({ respond: removed }));
    const [code, io] = await run(["member", "remove", "n2"], new FakeProcess().answering(word));
    expect([code, io.out, io.err]).toEqual([1, "", "muster: not confirmed; nothing was changed\n"]);
    expect(calls()).toEqual([[true, 0n]]);
  });

  test("is asked about by every command that can be one", async () => {
    const answer = { respond: AddMemberResponse.create({ ...added, quorumSteps: lower }) };
    for (const rpc of ["addMember", "promoteMember", "replaceMember", "deleteMember"] as const)
      server.on(rpc, answer);
    server.on("changeMembers", { respond: ChangeMembersResponse.create({ header, quorumSteps: lower }) });
    for (const words of [
      ["member", "add", "n4", "--peer-url", "http://a:1", "--wait"],
      ["member", "promote", "n4"],
      ["member", "remove", "n4"],
      ["member", "replace", "n4"],
      ["members", "change", "--demote", "n2"],
    ]) {
      const [code, io] = await run(words, new FakeProcess().answering("no"));
      expect([words, code, io.questions]).toEqual([words, 1, [SHOWN]]);
    }
    expect(server.calls.every(({ request }) => request["validateOnly"] === true)).toBe(true);
  });

  test("keeps the revision that the user gave", async () => {
    server.on("deleteMember", unlessDry({ respond: removed }));
    const words = ["member", "remove", "n2", "--expected-revision", "41"];
    expect((await run(words, new FakeProcess().answering("y")))[0]).toBe(0);
    expect(calls()).toEqual([
      [true, 41n],
      [false, 41n],
    ]);
  });

  test("is done without a question with --yes, and where no person is", async () => {
    server.on("deleteMember", unlessDry({ respond: removed }));
    for (const words of [["--yes"], ["-y"]]) {
      const [code, io] = await run(["member", "remove", "n2", ...words], new FakeProcess().answering("n"));
      expect([code, io.questions]).toEqual([0, []]);
    }
    expect((await run(["member", "remove", "n2"]))[0]).toBe(0);
    expect(calls()).toEqual([1, 2, 3].map(() => [false, 0n]));
  });

  test("does not lose its time to the person", async () => {
    server.on("deleteMember", unlessDry({ respond: removed }));
    const io = new FakeProcess();
    io.ask = async () => {
      await io.clock.sleep(3_600_000);
      return "y";
    };
    expect((await run(["member", "remove", "n2", "--timeout", "5"], io))[0]).toBe(0);
  });

  test("that changed meanwhile is refused, with what to do", async () => {
    const fail = refusal({ code: status.ABORTED, reason: "REVISION_MISMATCH", message: "at 9 now" });
    server.on("deleteMember", unlessDry({ fail }));
    const [code, io] = await run(["member", "remove", "n2"], new FakeProcess().answering("y"));
    expect(code).toBe(1);
    expect(io.err).toBe(
      "muster: REVISION_MISMATCH: at 9 now\n" +
        "  the roster changed after the question was asked; repeat the command to be asked about it as it is now\n",
    );
  });

  test("of unknown outcome is repeated with its revision, since that is part of the request", async () => {
    const fail = refusal({ code: status.DEADLINE_EXCEEDED, reason: "OUTCOME_UNKNOWN", message: "undecided" });
    server.on("deleteMember", unlessDry({ fail }));
    const words = ["member", "remove", "n2", "--request-id", "mine"];
    const [code, io] = await run(words, new FakeProcess().answering("y"));
    expect(code).toBe(3);
    expect(io.err).toMatch(/--request-id mine --expected-revision 9007199254740993\n$/);
  });
});

describe("on a terminal there is no question", () => {
  test("about a change after which the cluster survives as much, and none for a leader that tells no steps", async () => {
    for (const quorumSteps of [same, []]) {
      server.on("deleteMember", unlessDry({ respond: removed }, quorumSteps));
      const [code, io] = await run(["member", "remove", "n2"], new FakeProcess().answering("n"));
      expect([code, io.questions]).toEqual([0, []]);
    }
    expect(calls().at(-1)).toEqual([false, 0n]);
  });

  test("about what is refused anyway", async () => {
    const fail = refusal({ code: status.FAILED_PRECONDITION, reason: "LAST_VOTER", message: "the last one" });
    server.on("deleteMember", { fail });
    const [code, io] = await run(["member", "remove", "n2"], new FakeProcess().answering("y"));
    expect([code, io.questions, server.calls.length]).toEqual([1, [], 1]);
    expect(io.err).toContain("LAST_VOTER: the last one");
  });

  test("about a repeated request that would be refused now: the members know whether it was made", async () => {
    const fail = refusal({ code: status.NOT_FOUND, reason: "MEMBER_REMOVED", message: "gone" });
    server.on("deleteMember", {
      decide: ({ validateOnly }) => (validateOnly === true ? { fail } : { respond: removed }),
    });
    const words = ["member", "remove", "n2", "--request-id", "mine"];
    const [code, io] = await run(words, new FakeProcess().answering("n"));
    expect([code, io.questions]).toEqual([0, []]);
    expect(server.seen("deleteMember", "requestId")).toEqual(["mine", "mine"]);
  });

  test("about an address", async () => {
    server.on("updateMember", { respond: UpdateMemberResponse.create({ header, member: n2 }) });
    const words = ["member", "update", "n2", "--peer-url", "http://a:1"];
    expect((await run(words, new FakeProcess().answering("n")))[0]).toBe(0);
    expect(calls()).toEqual([[false, 0n]]);
  });
});
