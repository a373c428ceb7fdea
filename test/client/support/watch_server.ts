/** A real gRPC server that watches are fed from, with the health service: what a member looks like to a client. */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { sendUnaryData, ServerUnaryCall, ServerWritableStream } from "@grpc/grpc-js";
import {
  HealthCheckResponse_ServingStatus as Serving,
  HealthService,
} from "../../../src/generated/grpc/health/v1/health";
import { MembershipServiceService } from "../../../src/generated/muster/v1/membership_service";
import type {
  GetMembersResponse,
  WatchMembersRequest,
  WatchMembersResponse,
} from "../../../src/generated/muster/v1/membership_service";

type WatchCall = ServerWritableStream<WatchMembersRequest, WatchMembersResponse>;
type HealthCall = ServerWritableStream<object, object>;

export class WatchServer {
  /** Open watches. */
  readonly watches = new Set<WatchCall>();
  /** The start revision of every watch so far. */
  readonly starts: bigint[] = [];
  reads = 0;
  /** Whether getMembers waits for the test. */
  held: (() => void)[] | null = null;
  answer: GetMembersResponse = { header: undefined, members: [] };
  /** Called with each new watch. */
  onWatch: (call: WatchCall) => void = () => undefined;
  private readonly healthCalls = new Set<HealthCall>();
  private isServing = true;
  private readonly server = new Server();
  private port = 0;

  static async start(port = 0): Promise<WatchServer> {
    const made = new WatchServer();
    const unimplemented = (_call: unknown, callback: sendUnaryData<object>): void => {
      callback({ code: 12, details: "not here" });
    };
    const names = Object.keys(MembershipServiceService);
    made.server.addService(MembershipServiceService, {
      ...Object.fromEntries(names.map((name) => [name, unimplemented])),
      getMembers: (_call: ServerUnaryCall<object, object>, callback: sendUnaryData<object>) => {
        made.reads++;
        const reply = (): void => callback(null, made.answer);
        if (made.held === null) reply();
        else made.held.push(reply);
      },
      watchMembers: (call: WatchCall) => {
        made.starts.push(call.request.startRevision);
        made.watches.add(call);
        call.on("cancelled", () => made.watches.delete(call));
        made.onWatch(call);
      },
    });
    made.server.addService(HealthService, {
      check: unimplemented,
      list: unimplemented,
      watch: (call: HealthCall) => {
        made.healthCalls.add(call);
        call.on("cancelled", () => made.healthCalls.delete(call));
        call.write({ status: made.isServing ? Serving.SERVING : Serving.NOT_SERVING });
      },
    });
    made.port = await new Promise<number>((resolve, reject) => {
      made.server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    return made;
  }

  get endpoint(): string {
    return `127.0.0.1:${this.port}`;
  }

  get healthWatches(): number {
    return this.healthCalls.size;
  }

  setServing(serving: boolean): void {
    this.isServing = serving;
    for (const call of this.healthCalls)
      call.write({ status: serving ? Serving.SERVING : Serving.NOT_SERVING });
  }

  send(...messages: WatchMembersResponse[]): void {
    for (const call of this.watches) for (const message of messages) call.write(message);
  }

  stop(): void {
    this.server.forceShutdown();
  }
}
