/** `muster watch` against real processes: it outlives the member that it watches, and shows what each change was for. */
import { WatchMembersResponse } from "../../src/generated/muster/v1/membership_service";
import { withCluster } from "./support/process_cluster";
import { Child, ensureBuilt, killLeftovers, MAIN, muster, until } from "./support/processes";

beforeAll(ensureBuilt, 120_000);
afterAll(killLeftovers);

function messages(watch: Child): WatchMembersResponse[] {
  const lines = watch.stdout.split("\n").slice(0, -1);
  return lines.map((line) => WatchMembersResponse.fromJSON(JSON.parse(line)));
}

const revisionsOf = (watch: Child): bigint[] =>
  messages(watch).flatMap(({ part }) =>
    part?.$case === "events" ? part.value.events.map(({ revision }) => revision) : [],
  );

test(
  "a watch shows every change once while the members under it are killed, and ends at Ctrl-C",
  () =>
    withCluster(3, async (cluster) => {
      const leader = await cluster.leader();
      // The members publish themselves when they start: the first change is then the test's.
      await until("all have started", async () =>
        (await leader.members()).members.every(({ started }) => started),
      );
      const revision = (await leader.members()).header?.revision ?? 0n;
      // The first endpoint is the leader's, so that its end is the end of the connection.
      const others = cluster.members.filter((member) => member !== leader);
      const endpoints = [leader, ...others].map(({ endpoint }) => endpoint).join(",");
      const words = ["watch", "--endpoints", endpoints];
      const watch = new Child(process.execPath, [MAIN, ...words, "--output", "json"], {});
      const table = new Child(process.execPath, [MAIN, ...words, "--from", String(revision)], {});
      await until("the roster", () => watch.stdout !== "");
      expect(messages(watch)[0]?.part?.$case).toBe("roster");

      const changes: bigint[] = [];
      const change = async (n: number): Promise<void> => {
        const update = ["member", "update", "n1", "--admin-url", `http://127.0.0.1:${String(n)}`];
        const answer = await muster([
          ...update,
          ...["--note", `change ${String(n)}`, "--output", "json", "--timeout", "20s"],
          ...["--endpoints", cluster.running.map(({ endpoint }) => endpoint).join(",")],
        ]);
        expect([answer.code, answer.stderr]).toEqual([0, ""]);
        const { header } = JSON.parse(answer.stdout) as { header: { revision: string } };
        changes.push(BigInt(header.revision));
      };
      await change(1);
      await leader.kill();
      await change(2);
      await change(3);
      await until("the last change", () => revisionsOf(watch).includes(changes[2] ?? 0n));
      await until("the last line", () => table.stdout.includes("change 3"));
      expect(revisionsOf(watch)).toEqual(changes);
      expect(watch.stderr).toContain("the watch was lost");
      expect(watch.stderr).toMatch(/the watch goes on at 127\.0\.0\.1:\d+; nothing was left out/);
      const lines = table.stdout.trimEnd().split("\n");
      expect(lines.map((line) => line.replace(/^(\d+) .*: (.*)$/, "$1 $2"))).toEqual(
        changes.map((at, i) => `${String(at)} change ${String(i + 1)}`),
      );
      for (const child of [watch, table]) {
        child.signal("SIGINT");
        expect(await child.end()).toMatchObject({ code: 0 });
      }
    }),
  120_000,
);
