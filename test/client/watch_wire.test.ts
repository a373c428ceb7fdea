/** Watches, the view and shared reads against real gRPC servers. */
import { MusterClient } from "../../src/client";
import type { MusterClientOptions, WatchItem } from "../../src/client";
import { GetMembersResponse } from "../../src/generated/muster/v1/membership_service";
import { added, CLUSTER, events, leader, member, progress, removed, roster } from "./support/watch_messages";
import { WatchServer } from "./support/watch_server";

const servers: WatchServer[] = [];
const clients: MusterClient[] = [];

async function server(): Promise<WatchServer> {
  const made = await WatchServer.start();
  servers.push(made);
  return made;
}

function client(of: readonly WatchServer[], options: Partial<MusterClientOptions> = {}): MusterClient {
  const made = new MusterClient({ endpoints: of.map(({ endpoint }) => endpoint), ...options });
  clients.push(made);
  return made;
}

/** Waits in real time until the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; !condition();) {
    if (performance.now() > end) throw new Error("it does not come true");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

afterEach(() => {
  for (const made of clients.splice(0)) made.close();
  for (const made of servers.splice(0)) made.stop();
});

const url = (of: WatchServer): string => `http://${of.endpoint}`;
const short = (item: WatchItem): string =>
  item.kind === "leader" ? "leader" : `${item.kind} ${String(item.revision)}`;

test("a watch goes on at another member when the first one is killed, and break ends the call there", async () => {
  const [one, two] = [await server(), await server()];
  one.onWatch = (call) => void call.write(roster(5, [member("1")]));
  two.onWatch = (call) => void call.write(events(added(7, "3"), added(8, "4")));
  const seen: string[] = [];
  for await (const item of client([one, two]).watchMembers()) {
    seen.push(short(item));
    if (seen.length === 1) one.send(events(added(6, "2")));
    if (seen.length === 2) one.stop();
    if (seen.length === 4) break;
  }
  expect(seen).toEqual(["roster 5", "event 6", "event 7", "event 8"]);
  expect([one.starts, two.starts]).toEqual([[0n], [6n]]);
  await until(() => two.watches.size === 0);
});

test("a reader that pauses pauses the stream", async () => {
  const one = await server();
  const note = "x".repeat(10_000);
  let written = 0;
  one.onWatch = (call) => {
    call.write(roster(5, []));
    // 60 MB, as fast as the connection takes them.
    const more = (): void => {
      while (written < 6000)
        if (!call.write(events({ ...added(6 + written++, "2"), note }))) {
          call.once("drain", more);
          return;
        }
    };
    more();
  };
  const items = client([one]).watchMembers();
  await items.next();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(written).toBeLessThan(1000);
  const before = written;
  for (let i = 0; i < 2000; i++) await items.next();
  expect(written).toBeGreaterThan(before);
  await items.return?.();
  await until(() => one.watches.size === 0);
});

test("a signal and close() end the call at the member", async () => {
  const one = await server();
  const abort = new AbortController();
  const made = client([one]);
  const first = made.watchMembers({ signal: abort.signal }).next();
  const second = made.watchMembers().next();
  await until(() => one.watches.size === 2);
  abort.abort();
  expect(await first).toEqual({ done: true, value: undefined });
  await until(() => one.watches.size === 1);
  made.close();
  await expect(second).rejects.toThrow("the client is closed");
  await until(() => one.watches.size === 0);
});

test("the view is kept by one watch, follows a change of member, and adds endpoints", async () => {
  const [one, two] = [await server(), await server()];
  const members = [member("1", { adminUrls: [url(one)] }), member("2", { adminUrls: [url(two)] })];
  one.onWatch = (call) => {
    call.write(roster(5, members));
    call.write(leader("1", 2));
    call.write(progress(5));
  };
  // Only the first member is configured.
  const made = client([one]);
  expect(made.members.all()).toEqual([]);
  await Promise.all([made.members.ready(), made.members.waitFor(5n)]);
  await until(() => made.members.fresh);
  expect(made.members.leader?.name).toBe("n1");
  expect(one.starts).toHaveLength(1);
  two.onWatch = (call) => {
    call.write(events(removed(6, "1")));
    call.write(progress(6));
  };
  one.stop();
  await made.members.waitFor(6n);
  expect(made.members.all().map(({ id }) => id)).toEqual(["2"]);
  expect(two.starts).toEqual([5n]);
  await until(() => made.members.fresh);
  two.answer = GetMembersResponse.fromPartial({ members: [member("2")] });
  expect((await made.getMembers()).members).toHaveLength(1);
  made.close();
  await until(() => two.watches.size === 0);
  expect(made.members.fresh).toBe(false);
});

test.each([true, false])("endpoints follow the roster of an answer: %s", async (followRoster) => {
  const [one, two] = [await server(), await server()];
  one.answer = GetMembersResponse.fromPartial({
    header: { clusterId: CLUSTER, revision: 5n },
    members: [member("2", { adminUrls: [url(two)] })],
  });
  const made = client([one], { followRoster, waitForConnection: false });
  await made.getMembers();
  one.stop();
  const next = made.getMembers();
  if (followRoster) await next;
  else await expect(next).rejects.toThrow(one.endpoint);
  expect(two.reads).toBe(followRoster ? 1 : 0);
});

test("reads that wait at the same time share one RPC; serializable ones don't", async () => {
  const one = await server();
  one.held = [];
  const made = client([one]);
  const first = made.getMembers();
  await until(() => one.reads === 1);
  const abort = new AbortController();
  const left = made.getMembers({}, { signal: abort.signal });
  const later = [made.getMembers(), made.getMembers(), made.getMembers()];
  abort.abort();
  await expect(left).rejects.toThrow("the caller cancelled the call");
  one.held.shift()?.();
  await first;
  await until(() => one.reads === 2);
  one.held.shift()?.();
  await Promise.all(later);
  expect(one.reads).toBe(2);
  one.held = null;
  await Promise.all([1, 2, 3].map(() => made.getMembers({ consistency: 2 })));
  expect(one.reads).toBe(5);
});

test("a member that says NOT_SERVING is not asked while another one serves", async () => {
  const [one, two] = [await server(), await server()];
  const made = client([one, two]);
  await made.getMembers();
  expect(one.healthWatches).toBe(0);
  await new Promise((resolve) => setTimeout(resolve, 1050));
  await made.getMembers();
  await until(() => one.healthWatches === 1);
  one.setServing(false);
  await until(() => two.healthWatches === 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = one.reads;
  for (let i = 0; i < 3; i++) await made.getMembers();
  expect([one.reads - before, two.reads]).toEqual([0, 3]);
  two.stop();
  await made.getMembers();
  expect(one.reads - before).toBe(1);
  made.close();
  await until(() => one.healthWatches === 0);
});
