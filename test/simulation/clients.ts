/**
 * Clients: call random members, several calls at a time, give up after a while, and repeat a write with the same
 * request_id when its outcome is unknown.
 */
import { SimContext } from "./context";
import { isNothingAppended } from "./history";
import type { Call } from "./history";
import type { Host } from "./host";
import type { Member } from "./member";
import { CLIENT } from "./network";
import type { RosterAnswer, WriteAnswer, WriteBody, WriteOperation } from "./operations";
import { reasonOf } from "./sim_forwarder";
import type { World } from "./world";

/** How often a write is repeated before its outcome counts as unknown. */
const ATTEMPTS_MAX = 4;

type Reply =
  | { readonly kind: "answer"; readonly answer: WriteAnswer | RosterAnswer }
  | { readonly kind: "error"; readonly reason: string }
  | { readonly kind: "timeout" };

export class Clients {
  /** Calls that somebody still waits for. */
  open = 0;
  /** No new calls. */
  stopped = false;
  private nextRequest = 1;
  private nextUrl = 1;

  constructor(private readonly world: World) {}

  start(): void {
    for (let i = 0; i < this.world.profile.clients; i++) this.think();
  }

  private think(): void {
    const { scheduler, random, profile, nobody } = this.world;
    scheduler.after(random.below(2 * profile.thinkMs * 1000), "client", nobody, () => {
      if (this.stopped) return;
      this.act();
      this.think();
    });
  }

  private act(): void {
    const { world } = this;
    const { random } = world;
    const name = random.pick(this.names());
    if (name === null) return;
    const choice = random.below(100);
    if (choice < 45) {
      if (world.has("writes"))
        this.write({ rpc: "UpdateAdminURL", name, adminUrl: this.freshAdminUrl(name) });
    } else if (choice < 50) {
      if (world.has("writes")) this.write({ rpc: "UpdateAdminURL", name: "nobody", adminUrl: "http://x:1" });
    } else if (!world.has("reads")) return;
    else if (choice < 80) this.read("members");
    else if (choice < 88) this.read("cluster");
    else this.readLocally();
  }

  /** Names that are or were members' names. */
  private names(): string[] {
    return this.world.hosts.map(({ name }) => name);
  }

  private freshAdminUrl(name: string): string {
    return `http://${name}.client:${1000 + this.nextUrl++}`;
  }

  // --- Writes -------------------------------------------------------------------------------------------------------

  /** Asks for a change until it is decided, or nobody wants to know any more. */
  write(body: WriteBody, done: (reason: string | null) => void = () => undefined): void {
    const { random } = this.world;
    const operation: WriteOperation = {
      kind: "write",
      body,
      requestId: `r${this.nextRequest++}`,
      expectedRevision: random.chance(0.04) ? this.someRevision() : 0,
      validateOnly: random.chance(0.03),
    };
    this.open++;
    const call = this.world.history.invoke(operation);
    this.attempt(operation, call, 1, true, (reason) => {
      this.open--;
      done(reason);
    });
  }

  private someRevision(): number {
    const member = this.world.random.pick(this.world.hosts)?.running;
    return member?.node.roster.revision ?? 1;
  }

  /** @param certain no earlier attempt may still take effect */
  private attempt(
    operation: WriteOperation,
    call: Call,
    number: number,
    certain: boolean,
    done: (reason: string | null) => void,
  ): void {
    const { world } = this;
    const { history, coverage } = world;
    if (number > 1) coverage.add("request repeated");
    this.exchange(
      operation.body.rpc,
      (member, context) => member.serve(operation, context),
      (reply) => {
        if (reply.kind === "answer") {
          const answer = reply.answer as WriteAnswer; // a write is answered by a WriteAnswer
          this.guard(() => {
            if (operation.validateOnly) history.refused(call, "NOT_PROPOSED", true);
            else history.wrote(call, answer);
          });
          coverage.add(operation.validateOnly ? "validate_only" : "write answered");
          if (answer.repeated) coverage.add("repeat answered from memory");
          done(null);
          return;
        }
        const reason = reply.kind === "timeout" ? "OUTCOME_UNKNOWN" : reply.reason;
        const open = reason === "OUTCOME_UNKNOWN" || reason === "CANCELLED";
        const stillCertain = certain && !open;
        if ((open || isNothingAppended(reason)) && number < ATTEMPTS_MAX && !world.healing) {
          const pause = world.random.below(300_000);
          world.scheduler.after(pause, "client", world.nobody, () => {
            this.attempt(operation, call, number + 1, stillCertain, done);
          });
          return;
        }
        if (operation.validateOnly) history.refused(call, "NOT_PROPOSED", true);
        else history.refused(call, reason, stillCertain);
        if (reason === "REVISION_MISMATCH") coverage.add("expected_revision mismatch");
        coverage.add(stillCertain ? "write refused" : "write of unknown outcome");
        done(reason);
      },
    );
  }

  // --- Reads --------------------------------------------------------------------------------------------------------

  read(what: "members" | "cluster", done: (reason: string | null) => void = () => undefined): void {
    const { history, coverage } = this.world;
    const call = history.invoke(null);
    this.open++;
    this.exchange(
      what === "members" ? "GetMembers" : "GetCluster",
      async (member, context) => {
        if (what === "cluster") return member.serve({ kind: "cluster" }, context);
        const answer = await member.read(context);
        const self = member.node.roster.member(member.node.id);
        if (self?.learner === true) coverage.add("linearizable read at a learner");
        return answer;
      },
      (reply) => {
        this.open--;
        if (reply.kind !== "answer") {
          history.unknown(call);
          if (reply.kind === "error") coverage.add("linearizable read refused");
          done(reply.kind === "error" ? reply.reason : "timeout");
          return;
        }
        coverage.add(what === "members" ? "linearizable read" : "GetCluster");
        this.guard(() => {
          history.read(call, reply.answer as RosterAnswer);
        });
        done(null);
      },
    );
  }

  private readLocally(): void {
    const { world } = this;
    const member = world.random.pick(world.hosts)?.running ?? null;
    if (member === null) return;
    world.coverage.add("serializable read");
    this.guard(() => {
      world.history.local(member.rosterNow());
    });
  }

  // --- The wire -----------------------------------------------------------------------------------------------------

  /** One call to one member: the answer, an error, or nothing until the client gives up. */
  private exchange(
    rpc: string,
    serve: (member: Member, context: SimContext) => Promise<WriteAnswer | RosterAnswer>,
    settle: (reply: Reply) => void,
  ): void {
    const { world } = this;
    const { random, scheduler, network, nobody } = world;
    const host = this.someHost();
    const timeoutMs = world.healing ? 8000 : random.between(200, 4000);
    let settled = false;
    const end = (reply: Reply): void => {
      if (settled) return;
      settled = true;
      timer.run = null;
      settle(reply);
    };
    const timer = scheduler.after(timeoutMs * 1000, "client", nobody, () => {
      end({ kind: "timeout" });
    });
    const refuse = (): void => {
      scheduler.after(1000, "reply", nobody, () => {
        end({ kind: "error", reason: "CONNECTION_REFUSED" });
      });
    };
    if (host === null) {
      refuse();
      return;
    }
    const arrive = (): void => {
      const member = host.running;
      if (member === null) {
        refuse();
        return;
      }
      const context = new SimContext(
        rpc,
        member.clock,
        timeoutMs,
        world.profile.electionMs,
        !random.chance(0.05),
      );
      const answer = (reply: Reply): void => {
        if (!member.alive) return;
        member.calls--;
        network.carry("reply", host, CLIENT, () => end(reply), { once: true, detail: describe(reply) });
      };
      if (random.chance(0.02)) this.cancelLater(host, context);
      serve(member, context).then(
        (value) => {
          answer({ kind: "answer", answer: value });
        },
        (error: unknown) => {
          const reason = reasonOf(error);
          if (reason === null) world.fail(error);
          answer({ kind: "error", reason: reason ?? "INTERNAL" });
        },
      );
      member.calls++;
    };
    network.carry("request", CLIENT, host, arrive, { once: true, detail: rpc });
  }

  private cancelLater(host: Host, context: SimContext): void {
    const { scheduler, random } = this.world;
    scheduler.after(random.below(500_000), "request", host, () => {
      context.cancel();
    });
  }

  private someHost(): Host | null {
    const { hosts, random } = this.world;
    const running = hosts.filter((host) => host.running !== null);
    if (!this.world.healing) return random.pick(running.length > 0 && random.chance(0.95) ? running : hosts);
    // In the end nobody asks one that was removed before it ever heard of the cluster.
    const leader = running.find((host) => host.running?.node.isLeader === true)?.running;
    return random.pick(running.filter((host) => leader?.node.roster.member(host.id) !== null));
  }

  private guard(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.world.fail(error);
    }
  }
}

function describe(reply: Reply): string {
  if (reply.kind === "error") return reply.reason;
  return reply.kind === "answer" ? `revision ${reply.answer.revision}` : "timeout";
}
