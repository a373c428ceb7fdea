/** A replica as other layers see it, led by whom the test says; counts its listeners. */
import { NO_NODE } from "../../../src/raft/index";
import type { NodeId, RaftStatus } from "../../../src/raft/index";
import { ContactTracker } from "../../../src/replica/contact";
import { Disks } from "../../../src/replica/disks";
import type { ReplicaListener, ReplicaView } from "../../../src/replica/view";
import { apply, publish, rosterOf } from "../../roster/support/log";

export class FakeView implements ReplicaView {
  readonly id = 1n;
  readonly mayBeRemoved = false;
  readonly clusterId = 0xc1n;
  term = 3;
  leader: NodeId = NO_NODE;
  committed = 3;
  applied = 3;
  lastIndex = 3;
  ticks = 50;
  readonly electionTicks = 10;
  readonly contacts = new ContactTracker(10);
  readonly disks = new Disks(
    { storage: { hasSpace: () => this.hasSpace }, transport: { setDiskFull: () => undefined } },
    10,
  );
  readonly roster = rosterOf(3);
  hasSpace = true;
  private readonly listeners = new Set<ReplicaListener>();

  constructor() {
    for (let n = 1; n <= 3; n++) apply(this.roster, publish(n));
  }

  get isLeader(): boolean {
    return this.leader === this.id;
  }

  get listenerCount(): number {
    return this.listeners.size;
  }

  isLeaving(): boolean {
    return false;
  }
  status(): RaftStatus {
    throw new Error("not in this test");
  }
  capture(): () => void {
    throw new Error("not in this test");
  }

  listen(listener: ReplicaListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Another leader, or none. */
  ledBy(leader: NodeId): void {
    this.leader = leader;
    for (const listener of [...this.listeners]) listener.onLeadership?.();
  }

  tick(): void {
    this.ticks++;
    for (const listener of [...this.listeners]) listener.onTick?.();
  }
}
