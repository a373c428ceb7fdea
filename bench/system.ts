/**
 * A system under test, as the scenarios use it: three members on loopback, the calls that are compared with each other,
 * and how to kill and restart a member. Implemented by muster.ts and etcd.ts.
 */
import * as path from "node:path";
import { loadSync, type PackageDefinition, type ServiceDefinition } from "@grpc/proto-loader";
import { type Call, type MemberClient } from "./client";
import type { MemberProcess } from "./processes";
import type { StreamCall } from "./watchers";

/** Heartbeat interval of every system, in milliseconds. */
export const HEARTBEAT_MS = 100;
/** Election timeout of every system, in milliseconds. */
export const ELECTION_TIMEOUT_MS = 1000;
/** Entries between two snapshots of every system. */
export const SNAPSHOT_ENTRIES = 10_000;

export interface Member {
  readonly name: string;
  /** `host:port` of the listener for clients. */
  readonly address: string;
  readonly process: MemberProcess;
  readonly client: MemberClient;
}

/** The calls that the scenarios make. */
export interface Calls {
  readonly linearizableRead: Call;
  readonly serializableRead: Call;
  readonly write: Call;
}

export interface System {
  readonly name: string;
  readonly version: string;
  /** The names of the calls, for the notes below the table. */
  readonly callNames: {
    readonly read: string;
    readonly serializable: string;
    readonly write: string;
    readonly change: string;
  };
  readonly members: readonly Member[];
  readonly calls: Calls;
  /** A stream that gets a first message at once, and another one after every `calls.write`. */
  readonly watch: StreamCall;
  /** Starts the processes without waiting for them. */
  spawn(): void;
  /** Writes the data that the reads return. Called once, after the first start. */
  prepare(): Promise<void>;
  /** The index in `members` of the member that reports to be the leader. @throws while there is none */
  leaderIndex(): Promise<number>;
  /** Adds a member that never starts, and removes it. */
  addAndRemove(member: Member, n: number): Promise<void>;
  /**
   * Adds a member as a learner and starts it. Resolves when it is a voter that answers a linearizable read.
   *
   * @param dead the member whose place it takes, which is killed already: its removal is part of it
   */
  join(leader: Member, name: string, dead: Member | null): Promise<Member>;
  /** Removes a member that `join` added, and ends its process. */
  leave(leader: Member, member: Member): Promise<void>;
  /** Hands leadership from the leader to another of `members`. Resolves when that one says that it leads. */
  transferLeadership(leader: Member): Promise<void>;
  /** Ends all processes and removes their data. */
  destroy(): Promise<void>;
}

/** Creates a system with empty data directories. */
export type SystemFactory = () => Promise<System>;

/** Messages and methods of a .proto file, read at run time. */
export class Contract {
  private readonly definitions: PackageDefinition;

  constructor(file: string, includeDir: string) {
    this.definitions = loadSync(file, {
      includeDirs: [path.resolve(__dirname, includeDir)],
      longs: String,
      enums: String,
      bytes: Buffer,
      defaults: true,
      keepCase: true,
    });
  }

  private method(service: string, name: string): ServiceDefinition[string] {
    const found = (this.definitions[service] as ServiceDefinition | undefined)?.[name];
    if (found === undefined) throw new Error(`no method ${service}/${name}`);
    return found;
  }

  path(service: string, name: string): string {
    return this.method(service, name).path;
  }

  encode(service: string, name: string, request: object): Buffer {
    return this.method(service, name).requestSerialize(request);
  }

  /** A call with a different request for every number. */
  call(service: string, name: string, request: (n: number) => object): Call {
    return { path: this.path(service, name), body: (n) => this.encode(service, name, request(n)) };
  }

  /** A call that always has the same request, which is encoded once. */
  fixedCall(service: string, name: string, request: object): Call {
    const body = this.encode(service, name, request);
    return { path: this.path(service, name), body: () => body };
  }

  /** Makes the call and decodes the response, without checking that it has the fields of `T`. */
  async ask<T>(client: MemberClient, service: string, name: string, request: object): Promise<T> {
    const method = this.method(service, name);
    const answer = await client.call(method.path, method.requestSerialize(request));
    return method.responseDeserialize(answer) as T;
  }
}

/** Calls `probe` every 5 ms until it succeeds, for what is measured. @throws after a minute */
export function soon<T>(probe: () => Promise<T>): Promise<T> {
  return eventually("a measured change", 60_000, probe, 5);
}

/** Calls `probe` every 50 ms until it succeeds. @throws the last error of `probe` when the limit has passed */
export async function eventually<T>(
  what: string,
  limitMs: number,
  probe: () => Promise<T>,
  pauseMs = 50,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    try {
      return await probe();
    } catch (error) {
      if (performance.now() > endMs) throw new Error(`${what}: not within ${limitMs} ms`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

/** Ends all members of a system and closes their clients. */
export async function endMembers(members: readonly Member[]): Promise<void> {
  for (const { client } of members) client.close();
  await Promise.all(members.map(({ process }) => process.end("SIGKILL")));
}
