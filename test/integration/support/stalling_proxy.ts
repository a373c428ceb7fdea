/**
 * A TCP proxy for HTTP/2 that can hold back what a client sends, as a network does that dies under a connection, and
 * deliver the requests in it later, when the client has long given the connection up.
 */
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";

const FRAME_HEADER_BYTES = 9;
/** The frames of a request: DATA, HEADERS, CONTINUATION (RFC 9113, section 6). The others end it, or ask for a sign of life. */
const REQUEST_FRAMES: ReadonlySet<number> = new Set([0, 1, 9]);

export class StallingProxy {
  /** Bytes that the target has answered to what was released. */
  answeredBytes = 0;
  private held: Buffer | null = null;
  private released = false;
  private upstream: Socket | null = null;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly target: { readonly host: string; readonly port: number },
  ) {}

  /** @param target host:port */
  static async listen(target: string): Promise<StallingProxy> {
    const url = new URL(`http://${target}`);
    const server = createServer();
    const proxy = new StallingProxy(server, { host: url.hostname, port: Number(url.port) });
    server.on("connection", (socket) => {
      proxy.accept(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get endpoint(): string {
    const address = this.server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
    return `127.0.0.1:${String(address.port)}`;
  }

  /** Holds back what the client sends from now on, and what the target answers. */
  hold(): void {
    this.held = Buffer.alloc(0);
  }

  get heldBytes(): number {
    return this.held?.length ?? 0;
  }

  /** Delivers the frames of requests that were held back. */
  release(): void {
    this.released = true;
    this.upstream?.write(requestFrames(this.held ?? Buffer.alloc(0)));
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(client: Socket): void {
    if (this.held !== null) {
      client.destroy();
      return;
    }
    const upstream = connect(this.target);
    this.upstream = upstream;
    for (const socket of [client, upstream]) {
      this.sockets.add(socket);
      socket.on("error", () => undefined);
    }
    client.on("data", (bytes) => {
      if (this.held === null) upstream.write(bytes);
      else this.held = Buffer.concat([this.held, bytes]);
    });
    upstream.on("data", (bytes) => {
      if (this.held === null) client.write(bytes);
      else if (this.released) this.answeredBytes += bytes.length;
    });
    // The target does not learn that the client has gone.
    client.on("close", () => {
      if (this.held === null) upstream.destroy();
    });
  }
}

function requestFrames(bytes: Buffer): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at + FRAME_HEADER_BYTES <= bytes.length;) {
    const end = at + FRAME_HEADER_BYTES + bytes.readUIntBE(at, 3);
    if (REQUEST_FRAMES.has(bytes.readUInt8(at + 3))) frames.push(bytes.subarray(at, end));
    at = end;
  }
  return Buffer.concat(frames);
}
