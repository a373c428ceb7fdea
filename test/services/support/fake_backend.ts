/** A backend that decides nothing: it notes what a service asks of it, and answers as the test says. */
import { OpenCall } from "../../../src/base/call";
import type { Call } from "../../../src/base/call";
import { Deadline } from "../../../src/base/deadline";
import type { Random } from "../../../src/base/random";
import type { Accepted } from "../../../src/cluster/leader/submission";
import type { WriteRequest } from "../../../src/cluster/writes";
import type { Snapshot } from "../../../src/raft/index";
import type { RosterCommand, RosterView } from "../../../src/roster/index";
import { RefusedError } from "../../../src/roster/index";
import type { Backend } from "../../../src/services/backend";
import type { PeerRequest } from "../../../src/transport/peer_calls";
import { ManualClock } from "../../base/support/manual_clock";
import { CLUSTER_ID, memberOf, rosterOf } from "../../roster/support/log";

export const WALL_MS = 1_700_000_000_000;

/** Draws 1, 2, 3, ... */
export class CountingRandom implements Random {
  drawn = 0;

  below(n: number): number {
    return ++this.drawn % n;
  }

  u64(): bigint {
    return BigInt(++this.drawn);
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(count).fill(++this.drawn);
  }

  uuid(): string {
    return `uuid-${++this.drawn}`;
  }
}

/** One write as it reached the cluster layer: two attempts here, then two at the leader. */
export interface SeenWrite {
  readonly call: Call;
  readonly validateOnly: boolean;
  readonly commands: readonly RosterCommand[];
  readonly forwards: readonly PeerRequest[];
}

export class FakeBackend {
  readonly roster = rosterOf(3);
  readonly replica = {
    id: 1n,
    clusterId: CLUSTER_ID,
    term: 4,
    leader: 2n,
    isLeader: false,
    committed: 9,
    applied: 8,
    lastIndex: 10,
    ticks: 0,
    roster: this.roster as RosterView,
    hasSpace: true,
    capture: (done: (snapshot: Snapshot) => void): (() => void) => {
      this.captures++;
      const give = (): void => done(this.replica.stateNow());
      if (this.holdsCapture) this.heldCapture = give;
      else give();
      return () => this.captures--;
    },
    contacts: { lastHeardMs: () => null, lastReceivedMs: () => null, inContactTicks: () => null },
    status: () => ({ progress: new Map() }),
    stateNow: (): Snapshot => ({
      meta: {
        index: 8,
        term: 4,
        confState: {
          voters: [1n, 2n, 3n],
          learners: [],
          votersOutgoing: [],
          learnersNext: [],
          autoLeave: false,
        },
      },
      data: this.roster.snapshot(),
    }),
  };
  /** Captures that are in use. */
  captures = 0;
  /** Whether captures wait for heldCapture to be called. */
  holdsCapture = false;
  heldCapture: () => void = () => undefined;
  readonly writes: SeenWrite[] = [];
  /** Calls that asked for a confirmed read. */
  readonly confirmed: Call[] = [];
  /** Requests that were to be sent to the leader. */
  readonly asked: PeerRequest[] = [];
  /** What a confirmation ends with. */
  confirm: () => Promise<void> = () => Promise.resolve();
  /** The leader's answer to a read; null: this member leads and answers itself. */
  leaderAnswer: Buffer | null = null;
  decision: Accepted = {
    accepted: true,
    repeated: false,
    changed: true,
    member: memberOf(this.roster, 2),
    revision: 77,
  };

  get backend(): Backend {
    return {
      replica: this.replica,
      writes: {
        execute: async <Res>(request: WriteRequest<Res>, call: Call): Promise<Res> => {
          this.writes.push({
            call,
            validateOnly: request.validateOnly,
            commands: [request.command(), request.command()],
            forwards: [request.forward(), request.forward()],
          });
          return request.answer(this.decision);
        },
      },
      reads: {
        confirm: (call: Call) => {
          this.confirmed.push(call);
          return this.confirm();
        },
        atLeader: async <Res>(_call: Call, request: () => PeerRequest, here: () => Res) => {
          if (this.leaderAnswer === null) return here();
          this.asked.push(request());
          return this.leaderAnswer;
        },
      },
    } as unknown as Backend;
  }
}

export function callOf(method: string): OpenCall {
  return new OpenCall({ method, deadline: Deadline.of(new ManualClock(), 10_000, 1000) });
}

export async function refusalOf(answer: Promise<unknown>): Promise<RefusedError> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof RefusedError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}
