/**
 * Many open streams to one member, on few connections, over node:http2: what arrives is counted and not decoded, so that
 * the time is the server's as far as one client process allows. The same for every system.
 */
import * as http2 from "node:http2";

/** A call whose answer is a stream. */
export interface StreamCall {
  /** "/package.Service/Method" */
  readonly path: string;
  /** The encoded request. */
  readonly body: Buffer;
  /** Whether the client ends its side after the request; a stream with requests in both directions ends otherwise. */
  readonly ends: boolean;
}

/** Length-prefixed message of gRPC: not compressed. */
function framed(body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** How long anything may take before the measurement is given up, in milliseconds. */
const LIMIT_MS = 60_000;

export class Watchers {
  private readonly sessions: http2.ClientHttp2Session[] = [];
  private readonly streams: http2.ClientHttp2Stream[] = [];
  /** Streams that have got something in this round. */
  private served = new Set<number>();
  private round: { readonly wanted: number; readonly done: (error?: Error) => void } | null = null;

  get count(): number {
    return this.streams.length;
  }

  /** Opens the streams and waits until each has its first message. */
  async open(address: string, call: StreamCall, connections: number, perConnection: number): Promise<void> {
    for (let c = 0; c < connections; c++) {
      const session = http2.connect(`http://${address}`, { settings: { initialWindowSize: 65_535 } });
      session.on("error", (error: Error) => this.round?.done(error));
      this.sessions.push(session);
      await this.nextRound(perConnection, () => {
        for (let s = 0; s < perConnection; s++) this.add(session, call);
      });
    }
  }

  private add(session: http2.ClientHttp2Session, { path, body, ends }: StreamCall): void {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const number = this.streams.push(stream);
    stream.on("data", () => this.note(number));
    stream.on("error", () => undefined);
    stream.on("end", () => this.round?.done(new Error(`${path}: a stream ended`)));
    if (ends) stream.end(framed(body));
    else stream.write(framed(body));
  }

  private note(number: number): void {
    this.served.add(number);
    if (this.round !== null && this.served.size >= this.round.wanted) this.round.done();
  }

  /** Milliseconds from `begin` until `wanted` streams have got a message. */
  private async nextRound(wanted: number, begin: () => void): Promise<number> {
    this.served = new Set();
    const startMs = performance.now();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${this.served.size} of ${wanted} streams had a message within ${LIMIT_MS} ms`));
      }, LIMIT_MS);
      this.round = {
        wanted,
        done: (error) => {
          clearTimeout(timer);
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      begin();
    });
    this.round = null;
    return performance.now() - startMs;
  }

  /** Milliseconds from the start of `change` until the last stream has it. */
  timeToLast(change: () => Promise<void>): Promise<number> {
    return this.nextRound(this.count, () => {
      change().catch((error: unknown) => {
        this.round?.done(error instanceof Error ? error : new Error(String(error)));
      });
    });
  }

  close(): void {
    for (const session of this.sessions) session.destroy();
  }
}
