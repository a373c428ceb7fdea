/** Members tell each other over their streams whether their disks are full. */
import { Members, append, settle, until } from "./kit";

jest.setTimeout(20_000);

const members = new Members();

afterEach(() => members.stopAll());

test("a change is told at once, in order with the messages; a new stream begins with what holds then", async () => {
  const two = await members.receiver(2n);
  const one = members.sender(1n);
  one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
  await until(() => two.disks.length === 1);
  one.transport.setDiskFull(true);
  one.transport.send([append(10)]);
  await until(() => two.messages.length === 1);
  expect(two.disks).toEqual(["1 has space", "1 full"]);

  two.handles[0]?.end(null);
  await until(() => one.transport.stats(2n)?.state === "waiting");
  one.clock.advance(5000);
  await until(() => two.disks.length === 4);
  expect(two.disks.slice(2)).toEqual(["1 has space", "1 full"]);
  one.transport.setDiskFull(false);
  await until(() => two.disks.length === 5);
  expect(two.disks[4]).toBe("1 has space");
});

test("a peer that is added later is told too, and one that is away hears of it when it is back", async () => {
  const two = await members.receiver(2n);
  const one = members.sender(1n);
  one.transport.setDiskFull(true);
  one.transport.setPeers([{ id: 2n, peerUrls: [two.url] }]);
  await until(() => two.disks.length === 2);
  expect(two.disks).toEqual(["1 has space", "1 full"]);
  one.transport.stop();
  one.transport.setDiskFull(false);
  await settle(1);
  expect(two.disks).toHaveLength(2);
});
