/**
 * The tasks of an operator with the command, each test with its own cluster: listing, giving a member another URL, removing
 * one (also the leader), adding one, and replacing one whose disk is lost.
 */
import { rmSync } from "node:fs";
import { Consistency } from "../../src/client";
import { FinalExit } from "../../src/server/errors";
import { readDataDirState } from "../../src/storage/data_dir";
import { nodeFs } from "../../src/storage/node_fs";
import { withCluster } from "./support/process_cluster";
import { ensureBuilt, freePortBlock, killLeftovers, muster, until } from "./support/processes";
import type { MemberProcess, ProcessCluster } from "./support/process_cluster";
import type { Outcome } from "./support/processes";

/** A member as `--output json` prints it. */
interface JsonMember {
  readonly id: string;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly adminUrls?: readonly string[];
  readonly started?: boolean;
}
interface JsonAnswer {
  readonly header: { readonly leaderId: string; readonly memberId: string; readonly revision: string };
  readonly member?: JsonMember;
  readonly members: readonly JsonMember[];
}

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

/** Runs a command at one member or at all. It must succeed, print nothing on stderr, and one line of JSON on stdout. */
async function ask(at: MemberProcess | ProcessCluster, ...words: string[]): Promise<JsonAnswer> {
  const endpoints = "endpoints" in at ? at.endpoints : at.endpoint;
  const { code, stdout, stderr } = await muster([...words, "--endpoints", endpoints, "--output", "json"]);
  expect({ words, code, stderr }).toEqual({ words, code: 0, stderr: "" });
  expect(stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(stdout) as JsonAnswer;
}

function named(answer: JsonAnswer, name: string): JsonMember | undefined {
  return answer.members.find((member) => member.name === name);
}

/** Waits until the local state of every running member satisfies the condition. */
async function allShow(
  cluster: ProcessCluster,
  what: string,
  shows: (names: string[]) => boolean,
): Promise<void> {
  await until(what, async () => {
    const answers = await Promise.all(cluster.running.map((member) => member.cluster()));
    return answers.every(
      (answer) => answer !== null && shows(answer.members.map((s) => s.member?.name ?? "")),
    );
  });
}

function lines(text: string): string[] {
  return text.trimEnd().split("\n");
}

/** Starts a member that must refuse to start, with one line on stderr. @returns its outcome */
async function startRefused(member: MemberProcess): Promise<Outcome> {
  const { code } = await member.start().end();
  const { stdout, stderr } = member.process;
  return { code, stdout, stderr };
}

test(
  "list and cluster at a follower show the same as at the leader",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, follower] = [await cluster.leader(), await cluster.follower()];
      const atFollower = await ask(follower, "member", "list");
      const atLeader = await ask(leader, "member", "list");
      expect(atFollower.members).toEqual(atLeader.members);
      expect(atFollower.members.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3"]);
      for (const member of cluster.members) {
        const listed = named(atFollower, member.name);
        expect(listed).toMatchObject({
          peerUrls: [member.spec.peerUrl],
          adminUrls: [member.adminUrl],
          started: true,
        });
      }
      expect(atFollower.header.memberId).toBe(named(atFollower, follower.name)?.id);
      expect(atFollower.header.leaderId).toBe(named(atFollower, leader.name)?.id);

      const status = await ask(follower, "cluster");
      expect(status).toMatchObject({ quorumSize: 2, failuresTolerated: 1 });
      const table = await muster(["member", "list", "--endpoints", follower.endpoint]);
      expect(table.code).toBe(0);
      expect(lines(table.stdout)[0]).toMatch(
        /^ID +NAME +ROLE +TARGET +STARTED +LEADER +PEER URL +ADMIN URL$/,
      );
      expect(table.stdout).toMatch(new RegExp(` ${leader.name} +voter +- +yes +yes `));
    }),
  120_000,
);

test(
  "a refusal is exit code 1, wrong usage 2, no answer 3",
  () =>
    withCluster(3, async (cluster) => {
      const follower = await cluster.follower();
      const at = ["--endpoints", follower.endpoint];
      const unknown = await muster(["member", "remove", "n9", ...at]);
      expect(unknown).toMatchObject({ code: 1, stdout: "" });
      expect(lines(unknown.stderr)[0]).toMatch(/^muster: MEMBER_NOT_FOUND: /);
      const taken = await muster(["member", "add", "n4", "--peer-url", follower.spec.peerUrl, ...at]);
      expect(taken.code).toBe(1);
      expect(lines(taken.stderr)[0]).toMatch(/^muster: PEER_URL_EXISTS: /);
      expect(await muster(["member", "remove", ...at])).toMatchObject({ code: 2, stdout: "" });
      const nobody = await muster(["member", "list", "--endpoints", `127.0.0.1:${await freePortBlock([0])}`]);
      expect(nobody).toMatchObject({ code: 3, stdout: "" });
    }),
  120_000,
);

test(
  "without a quorum, list still answers with a note, and a write is exit code 3",
  () =>
    withCluster(3, async (cluster) => {
      const follower = await cluster.follower();
      const others = cluster.members.filter((member) => member !== follower);
      await Promise.all(others.map((member) => member.kill()));
      const at = ["--endpoints", follower.endpoint, "--timeout", "3s"];
      const list = await muster(["member", "list", "--output", "json", ...at]);
      expect(list.code).toBe(0);
      expect(list.stderr).toMatch(/^muster: note: no quorum confirmed this answer /);
      expect((JSON.parse(list.stdout) as JsonAnswer).members).toHaveLength(3);
      const write = await muster(["member", "update", "n1", "--admin-url", "http://10.0.0.1:7460", ...at]);
      expect(write).toMatchObject({ code: 3, stdout: "" });
    }),
  120_000,
);

test(
  "a member is started on another peer URL, and the roster follows; nothing is asked of the cluster",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, moved] = [await cluster.leader(), await cluster.follower()];
      const other = cluster.members.find((member) => member !== leader && member !== moved);
      if (other === undefined) throw new Error("three members have two followers");
      const peerUrl = `http://127.0.0.1:${await freePortBlock([0])}`;
      // Nobody answers there yet: an update before the move would cost a vote, and is refused.
      const update = ["member", "update", moved.name, "--peer-url", peerUrl, "--endpoints", other.endpoint];
      const early = await muster(update);
      expect(early.code).toBe(1);
      expect(lines(early.stderr)[0]).toMatch(/^muster: UNHEALTHY_CLUSTER: /);

      expect(await moved.stop()).toEqual({ code: 0, signal: null });
      moved.spec = { ...moved.spec, peerUrl };
      moved.start();
      await until("the roster follows", async () => {
        const { members } = await leader.members();
        return members.find(({ name }) => name === moved.name)?.peerUrls.join() === peerUrl;
      });
      await cluster.ready();
      // The member takes part again: with the other follower stopped, this write needs its acknowledgement.
      await other.kill();
      await ask(moved, "member", "update", "n1", "--admin-url", "http://10.0.0.1:7460");
    }),
  120_000,
);

test(
  "the peer URL of a running member is changed at a follower to another one where it answers",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, renamed] = [await cluster.leader(), await cluster.follower()];
      const asked = cluster.members.find((member) => member !== leader && member !== renamed);
      if (asked === undefined) throw new Error("three members have two followers");
      const peerUrl = renamed.spec.peerUrl.replace("127.0.0.1", "localhost");
      const updated = await ask(asked, "member", "update", renamed.name, "--peer-url", peerUrl);
      expect(updated.member).toMatchObject({ name: renamed.name, peerUrls: [peerUrl] });

      // A start with the URL of before would lead back there.
      expect(await renamed.stop()).toEqual({ code: 0, signal: null });
      renamed.spec = { ...renamed.spec, peerUrl };
      renamed.start();
      await cluster.ready();
      expect(named(await ask(renamed, "member", "list"), renamed.name)?.peerUrls).toEqual([peerUrl]);
      await asked.kill();
      await ask(renamed, "member", "update", "n1", "--admin-url", "http://10.0.0.1:7460");
    }),
  120_000,
);

test(
  "a removed member exits by itself with 8, and its directory does not start again",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, removed] = [await cluster.leader(), await cluster.follower()];
      const answer = await ask(leader, "member", "remove", removed.name);
      expect(answer.member?.name).toBe(removed.name);
      expect(answer.members).toHaveLength(2);
      expect(await removed.process.end()).toEqual({ code: FinalExit.Removed, signal: null });
      // It learns of its removal from its log or from a peer, and logs it once.
      const errors = lines(removed.process.stderr).filter((line) => line.includes('"level":50'));
      expect(errors).toEqual([expect.stringMatching(/removed.*its data directory does not start again/)]);

      const again = await startRefused(removed);
      expect(again).toMatchObject({ code: FinalExit.Removed, stdout: "" });
      expect(lines(again.stderr)).toHaveLength(1);
      expect(again.stderr).toMatch(/^muster: .* belongs to a member that was removed from its cluster/);
      const repeated = await muster(["member", "remove", removed.name, "--endpoints", leader.endpoint]);
      expect(repeated.code).toBe(1);
      expect(lines(repeated.stderr)[0]).toMatch(/^muster: MEMBER_REMOVED: /);
    }),
  120_000,
);

test(
  "a member that was down when it was removed learns it at its next start",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, removed] = [await cluster.leader(), await cluster.follower()];
      await removed.kill();
      await ask(leader, "member", "remove", removed.name);
      removed.start();
      expect(await removed.process.end()).toEqual({ code: FinalExit.Removed, signal: null });
      const state = await readDataDirState(nodeFs, removed.spec.dataDir);
      expect(typeof state === "string" ? state : state.removed?.text).toContain("removed");
      const again = await startRefused(removed);
      expect(again.code).toBe(FinalExit.Removed);
      expect(lines(again.stderr)).toHaveLength(1);
    }),
  120_000,
);

test(
  "the leader is removed at a follower: another member leads, and the removed one exits",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, follower] = [await cluster.leader(), await cluster.follower()];
      const answer = await ask(follower, "member", "remove", leader.name);
      expect(answer.members.map(({ name }) => name)).not.toContain(leader.name);
      expect(await leader.process.end()).toEqual({ code: FinalExit.Removed, signal: null });
      await allShow(
        cluster,
        "both know two members",
        (names) => names.length === 2 && !names.includes(leader.name),
      );
      const list = await ask(follower, "member", "list");
      expect(list.members.map(({ id }) => id)).toContain(list.header.leaderId);
      expect((await cluster.leader()).name).not.toBe(leader.name);
    }),
  120_000,
);

test(
  "a fourth member is added and starts, and all members list it as started",
  () =>
    withCluster(3, async (cluster) => {
      const follower = await cluster.follower();
      const joiner = await cluster.joiner("n4");
      // A joining member may be started before it is added: it listens, and asks the cluster again and again.
      joiner.start();
      await until("it waits to join", () => joiner.output.includes("waiting to join"));
      const added = await ask(follower, "member", "add", "n4", "--peer-url", joiner.spec.peerUrl);
      expect(added.member).toMatchObject({ name: "n4", peerUrls: [joiner.spec.peerUrl] });
      expect(added.member?.started ?? false).toBe(false);
      await cluster.ready();
      await allShow(cluster, "all four show n4", (names) => names.length === 4 && names.includes("n4"));
      const list = await ask(joiner, "member", "list");
      expect(named(list, "n4")).toMatchObject({
        id: added.member?.id,
        started: true,
        adminUrls: [joiner.adminUrl],
      });
      expect(await ask(joiner, "cluster")).toMatchObject({ quorumSize: 3, failuresTolerated: 1 });
      // From now on it ignores initial-cluster, and a restart keeps its identity.
      await joiner.kill();
      joiner.start();
      await cluster.ready();
      expect(named(await ask(joiner, "member", "list"), "n4")?.id).toBe(added.member?.id);
    }),
  120_000,
);

test(
  "a member that lost its data is refused, with `new` and with `existing`, until it is removed and added again",
  () =>
    withCluster(3, async (cluster) => {
      const [leader, wiped] = [await cluster.leader(), await cluster.follower()];
      const before = named(await ask(leader, "member", "list"), wiped.name)?.id;
      await wiped.kill();
      rmSync(wiped.spec.dataDir, { recursive: true });
      for (const initialClusterState of ["new", "existing"] as const) {
        wiped.spec = { ...wiped.spec, initialClusterState };
        const refused = await startRefused(wiped);
        expect(refused).toMatchObject({ code: FinalExit.Unusable, stdout: "" });
        expect(lines(refused.stderr)).toHaveLength(1);
        expect(refused.stderr).toMatch(
          new RegExp(`^muster: .*${wiped.name} .*has started before, but this data directory`),
        );
      }
      await ask(leader, "member", "remove", wiped.name);
      const added = await ask(leader, "member", "add", wiped.name, "--peer-url", wiped.spec.peerUrl);
      expect(added.member?.id).not.toBe(before);
      wiped.start();
      await cluster.ready();
      const list = await wiped.members(Consistency.LINEARIZABLE);
      expect(list.members.find(({ name }) => name === wiped.name)).toMatchObject({
        id: added.member?.id,
        started: true,
      });
    }),
  120_000,
);
