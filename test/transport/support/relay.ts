/** A TCP relay in front of a listener, for connections that open late, lose their answers, or die. */
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

export class Relay {
  /** False: a connection is accepted, and nothing passes until release(). */
  isOpen = true;
  /** True: what the server sends is dropped. */
  losesAnswers = false;
  accepted = 0;
  private readonly sockets = new Set<Socket>();
  private readonly held: Socket[] = [];
  private readonly server: Server;

  constructor(private readonly targetPort: number) {
    this.server = createServer((socket) => {
      this.accepted++;
      this.track(socket);
      if (this.isOpen) this.join(socket);
      else this.held.push(socket);
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  /** Lets the connections pass that were accepted and held. */
  release(): void {
    this.isOpen = true;
    for (const socket of this.held.splice(0)) this.join(socket);
  }

  /** Ends every connection without a word. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  stop(): void {
    this.cut();
    this.server.close();
  }

  private join(from: Socket): void {
    const to = connect(this.targetPort, "127.0.0.1");
    this.track(to);
    from.pipe(to);
    to.on("data", (bytes) => {
      if (!this.losesAnswers) from.write(bytes);
    });
    to.on("close", () => from.destroy());
    from.on("close", () => to.destroy());
  }

  private track(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.sockets.delete(socket));
  }
}
