/** A real gRPC server on a free loopback port whose watches follow a script; every other call is refused. */
import { Server, ServerCredentials, status } from "@grpc/grpc-js";
import type { ServerWritableStream, ServiceError } from "@grpc/grpc-js";
import {
  MembershipServiceService,
  WatchMembersResponse,
} from "../../../src/generated/muster/v1/membership_service";
import type { WatchMembersRequest } from "../../../src/generated/muster/v1/membership_service";

type Stream = ServerWritableStream<WatchMembersRequest, WatchMembersResponse>;

/** What one watch gets, and its end; without one it stays open. */
export interface WatchStep {
  readonly send: readonly Parameters<typeof WatchMembersResponse.fromPartial>[0][];
  readonly fail?: ServiceError;
  /** Ends without an error. */
  readonly end?: true;
}

export class ScriptedWatches {
  /** The requests, in order. */
  readonly requests: WatchMembersRequest[] = [];
  /** Watches that are open. */
  open = 0;
  private readonly server = new Server();
  private port = 0;

  private constructor(private readonly steps: WatchStep[]) {}

  /** Each watch takes the next step; the last one repeats. */
  static async start(...steps: WatchStep[]): Promise<ScriptedWatches> {
    const scripted = new ScriptedWatches(steps);
    const refuse = (_call: unknown, callback: (error: Partial<ServiceError>) => void): void =>
      callback({ code: status.UNIMPLEMENTED, details: "only watches here" });
    const others = Object.fromEntries(Object.keys(MembershipServiceService).map((name) => [name, refuse]));
    scripted.server.addService(MembershipServiceService, {
      ...others,
      watchMembers: (stream: Stream) => scripted.serve(stream),
    });
    scripted.port = await new Promise<number>((resolve, reject) => {
      scripted.server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    return scripted;
  }

  get endpoint(): string {
    return `127.0.0.1:${this.port}`;
  }

  stop(): void {
    this.server.forceShutdown();
  }

  private serve(stream: Stream): void {
    this.requests.push(stream.request);
    this.open++;
    stream.on("cancelled", () => this.open--);
    const step = this.steps.length > 1 ? this.steps.shift() : this.steps[0];
    if (step === undefined) return;
    for (const message of step.send) stream.write(WatchMembersResponse.fromPartial(message));
    if (step.fail !== undefined) stream.emit("error", step.fail);
    else if (step.end === true) stream.end();
  }
}
