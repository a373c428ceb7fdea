/**
 * Callers that must not notice a rolling upgrade: each makes one call after the other with a client that knows all members.
 * Every call has to succeed, and a read has to see what was acknowledged before it began.
 */
import { MusterClient } from "../../../src/client";
import type { ProcessCluster } from "../../e2e/support/process_cluster";

/** Longer than an election on a busy machine. */
const TIMEOUT_MS = 30_000;

export class Callers {
  /** What must not have happened, one line each. */
  readonly problems: string[] = [];
  writes = 0;
  reads = 0;
  private acknowledged = 0n;
  private stopping = false;
  private readonly clients: MusterClient[] = [];
  private readonly loops: Promise<void>[] = [];

  /** @param target the member whose admin URL is written; nobody else may change it to a URL of port 1 */
  constructor(
    private readonly cluster: ProcessCluster,
    private readonly target: string,
  ) {}

  start(readers: number): void {
    const [endpoint] = [this.cluster.endpoints.split(",")];
    const client = (): MusterClient => {
      // Not by the roster: the writers put there addresses at which nobody is.
      const made = new MusterClient({ endpoints: endpoint, followRoster: false, timeoutMs: TIMEOUT_MS });
      this.clients.push(made);
      return made;
    };
    this.loops.push(this.run("write", client(), (one, n) => this.write(one, n)));
    for (let i = 0; i < readers; i++) this.loops.push(this.run("read", client(), (one) => this.read(one)));
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.loops);
    for (const client of this.clients) client.close();
  }

  private async run(
    what: string,
    client: MusterClient,
    call: (client: MusterClient, n: number) => Promise<void>,
  ): Promise<void> {
    for (let n = 1; !this.stopping; n++) {
      try {
        await call(client, n);
      } catch (error) {
        this.problems.push(`${what} ${n}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }

  private async write(client: MusterClient, n: number): Promise<void> {
    const adminUrls = [`http://10.255.${n >> 8}.${n & 255}:1`];
    const { header, member } = await client.updateAdminUrl({ name: this.target, adminUrls });
    this.writes += 1;
    if (member?.adminUrls.join() !== adminUrls.join())
      this.problems.push(`write ${n} answered ${member?.adminUrls.join()}`);
    const revision = header?.revision ?? 0n;
    if (revision <= this.acknowledged)
      this.problems.push(`write ${n} is at ${revision}, after ${this.acknowledged}`);
    this.acknowledged = revision;
  }

  private async read(client: MusterClient): Promise<void> {
    const before = this.acknowledged;
    const revision = (await client.getMembers()).header?.revision ?? 0n;
    this.reads += 1;
    if (revision < before) this.problems.push(`a read is at ${revision}, after a write at ${before}`);
  }
}
