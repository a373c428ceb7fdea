/**
 * A process that may have few files open, and more idle connections than files: the log and its snapshots keep a reserve,
 * the calls on older connections go on, and the newest connections are refused.
 */
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { join } from "node:path";
import { Child, MAIN, ensureBuilt, killLeftovers, until } from "./support/processes";
import { ProcessCluster } from "./support/process_cluster";

jest.setTimeout(180_000);

beforeAll(() => {
  ensureBuilt();
}, 120_000);
afterAll(() => killLeftovers());

const FILES = 400;
const IDLE = 370;
/** One more than lead to a snapshot. */
const WRITES = 10_001;

function idle(port: number, sockets: Socket[]): void {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.resume();
  sockets.push(socket);
}

test("370 idle connections on each listener leave the storage its files", async () => {
  const cluster = await ProcessCluster.prepare(1);
  const [member] = cluster.members;
  if (member === undefined) throw new Error("no member");
  const limited = ["-c", `ulimit -n ${FILES} && exec "$0" "$@"`, process.execPath, MAIN, ...member.words];
  const child = new Child("/bin/sh", limited);
  const sockets: Socket[] = [];
  try {
    await until("it leads", async () => (await member.cluster())?.header?.leaderId !== undefined);
    await until("it takes writes", () =>
      member.client.updateAdminUrl({ name: "n1", adminUrls: ["http://h:1"] }).then(
        () => true,
        () => false,
      ),
    );
    const peerPort = Number(new URL(member.spec.peerUrl).port);
    for (const port of [member.spec.adminPort, peerPort]) for (let i = 0; i < IDLE; i++) idle(port, sockets);
    // More than half of them can't be taken.
    await until("the newest are refused", () => sockets.filter(({ closed }) => closed).length > IDLE);
    expect(child.stdout + child.stderr).toContain("as many as it may have");

    let next = 0;
    const write = async (): Promise<void> => {
      while (next < WRITES) {
        const adminUrls = [`http://h:${String(1 + (next++ % 60_000))}`];
        await member.client.updateAdminUrl({ name: "n1", adminUrls }, { timeoutMs: 20_000 });
      }
    };
    await Promise.all(Array.from({ length: 100 }, write));
    const saved = (): boolean =>
      readdirSync(join(member.spec.dataDir, "member"), { recursive: true }).some((file) =>
        String(file).endsWith(".snap"),
      );
    await until("a snapshot is saved", saved);
    expect(child.exit).toBeNull();

    for (const socket of sockets) socket.destroy();
    const [late] = cluster.members;
    await until("a new connection is taken", async () => (await late?.cluster()) !== null);
  } catch (error) {
    process.stderr.write(child.stdout + child.stderr);
    throw error;
  } finally {
    for (const socket of sockets) socket.destroy();
    child.signal("SIGTERM");
    await child.end();
    await cluster.destroy();
  }
});
