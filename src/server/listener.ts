/** One gRPC listener: bound where a URL says, closed so that nothing hangs. */
import { Server, ServerCredentials, logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import type { Clock } from "../base/clock";
import { StartRefusedError } from "./first_start";

// What goes wrong is told by the errors that the library gives; its own lines beside them are no JSON and say less.
setLogVerbosity(logVerbosity.NONE);

/** How long calls may go on while the listener closes, in milliseconds. */
const DRAIN_MS = 500;
/** After this the listener is left to the end of the process, in milliseconds. */
const CLOSE_MS_MAX = 1500;

export class Listener {
  readonly server: Server;
  private address = "";

  /** @param maxMessageBytes largest request; the library refuses a larger one with RESOURCE_EXHAUSTED */
  constructor(
    private readonly clock: Clock,
    maxMessageBytes: number,
  ) {
    this.server = new Server({
      "grpc.enable_channelz": 0,
      "grpc.max_receive_message_length": maxMessageBytes,
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 10_000,
    });
  }

  /** @throws StartRefusedError */
  bind(url: string, key: string): Promise<void> {
    this.address = new URL(url).host;
    return new Promise((resolve, reject) => {
      this.server.bindAsync(this.address, ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(new StartRefusedError(`${key} ${url}: can't listen there: ${error.message}`));
      });
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.clock.setTimeout(resolve, CLOSE_MS_MAX);
      if (this.address !== "") this.server.drain(this.address, DRAIN_MS);
      this.server.tryShutdown(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}
