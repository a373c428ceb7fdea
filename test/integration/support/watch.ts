/** A watch over the wire, by the generated stub: keeps what it gets, and says what ended it. */
import { status } from "@grpc/grpc-js";
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import type {
  MemberEvent,
  WatchMembersRequest,
  WatchMembersResponse,
} from "../../../src/generated/muster/v1/membership_service";
import { readError, until } from "./cluster";
import type { TestMember, WireError } from "./cluster";

const ROSTER_AND_CHANGES = { startRevision: 0n, withLeader: false, withProgress: false };

export class TestWatch {
  readonly messages: WatchMembersResponse[] = [];
  /** What ended it; null while it is open. */
  error: WireError | null = null;
  private readonly stream: ClientReadableStream<WatchMembersResponse>;

  constructor(member: TestMember, request: Partial<WatchMembersRequest> = {}, timeoutMs?: number) {
    const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
    this.stream = member.client.watchMembers({ ...ROSTER_AND_CHANGES, ...request }, options);
    this.stream.on("error", (error: ServiceError) => {
      this.error = readError(error);
    });
    this.resume();
  }

  /** Takes no more messages. */
  pause(): void {
    this.stream.removeAllListeners("data");
    this.stream.pause();
  }

  resume(): void {
    this.stream.on("data", (message: WatchMembersResponse) => this.messages.push(message));
    this.stream.resume();
  }

  cancel(): void {
    this.stream.cancel();
  }

  get events(): MemberEvent[] {
    return this.messages.flatMap(({ part }) => (part?.$case === "events" ? part.value.events : []));
  }

  get revisions(): number[] {
    return this.events.map(({ revision }) => Number(revision));
  }

  /** The revision up to which it has everything. */
  get revision(): bigint {
    return this.messages.at(-1)?.header?.revision ?? 0n;
  }

  /** The ids of the leaders that it was told of. */
  get leaders(): string[] {
    return this.messages.flatMap(({ part }) => (part?.$case === "leader" ? [part.value.leaderId] : []));
  }

  get marks(): boolean[] {
    return this.messages.flatMap(({ part }) => (part?.$case === "progress" ? [part.value.hasLeader] : []));
  }

  /** Waits until it has everything up to the revision. */
  async reached(revision: bigint | number): Promise<void> {
    const wanted = BigInt(revision);
    await until(`the watch has revision ${String(wanted)}`, () => this.revision >= wanted);
  }

  /** Waits until it has ended with this code and reason. */
  async ended(code: status, reason: string): Promise<WireError> {
    await until(`the watch ends with ${reason}`, () => this.error !== null);
    const { error } = this;
    if (error === null) throw new Error("not ended");
    expect([status[error.code], error.reason]).toEqual([status[code], reason]);
    return error;
  }
}
