/**
 * Runner of the interaction scripts: each drives a group of cores step by step and prints their Readys and messages.
 *
 * By default the output is that of etcd-raft's own harness, line by line. Commands that its scripts do not have:
 * - `restart N`: what the storage threads have not done is lost.
 * - `report-snapshot N M ok|fail`: the transport's report on the snapshot that N sent to M.
 * - `deliver-msgs .. order=reverse|twice`: reorders or repeats the messages of each recipient.
 * - `read-index N context`: a linearizable read at N.
 * - `refused N`: how many messages N has refused, by reason.
 * - `show-details`: from here on the reason of every refusal and the contexts of messages are printed too.
 */
import { readFileSync, writeFileSync } from "node:fs";
import {
  ConfChangeTransition,
  EMPTY_BYTES,
  EMPTY_CONF_STATE,
  EntryType,
  ReadOnlyOption,
  Role,
} from "../../src/raft/index";
import type { ConfChangeResult, Message, NodeId, Snapshot } from "../../src/raft/index";
import { compare } from "./compare";
import type { ScriptResult } from "./compare";
import { parseChanges } from "./confchange";
import { parseFile } from "./datadriven";
import type { Directive } from "./datadriven";
import { InteractionEnv, PROPOSAL_DROPPED } from "./interaction_env";
import type { Delivery, NodeOptions, ScriptNode } from "./interaction_env";
import { messageTypeByName, roleName } from "./interaction_format";

/** A script names something that does not exist. */
class ScriptError extends Error {}

type Command = (env: InteractionEnv, args: Arguments) => void;

/** The arguments of one directive, as the commands read them. */
class Arguments {
  constructor(readonly directive: Directive) {}

  /** Bare words, in order. */
  get words(): string[] {
    return this.directive.args.filter((arg) => arg.vals.length === 0).map((arg) => arg.key);
  }

  get input(): string {
    return this.directive.input;
  }

  get ids(): NodeId[] {
    return this.words.map(BigInt);
  }

  id(at: number): NodeId {
    const word = this.words[at];
    if (word === undefined) throw new ScriptError(`line ${this.directive.pos}: a node id is missing`);
    return BigInt(word);
  }

  list(key: string): readonly string[] {
    return this.directive.args.find((arg) => arg.key === key)?.vals ?? [];
  }

  value(key: string): string | undefined {
    return this.list(key)[0];
  }

  flag(key: string): boolean {
    return this.value(key) === "true";
  }

  number(key: string, otherwise: number): number {
    const text = this.value(key);
    return text === undefined ? otherwise : Number(text);
  }
}

function readOptions(args: Arguments): NodeOptions {
  return {
    electionTicks: 3,
    heartbeatTicks: 1,
    maxSizePerMessage: args.number("max-size-per-msg", Infinity),
    maxCommittedSizePerReady: args.number("max-committed-size-per-ready", Infinity),
    maxUncommittedSize: args.number("max-uncommitted-size", Infinity),
    maxInflightMessages: args.number("inflight", 0x7fff_ffff),
    asyncStorageWrites: args.flag("async-storage-writes"),
    preVote: args.flag("prevote"),
    checkQuorum: args.flag("checkquorum"),
    readOnly: args.value("read-only") === "lease-based" ? ReadOnlyOption.LeaseBased : ReadOnlyOption.Safe,
    disableConfChangeValidation: args.flag("disable-conf-change-validation"),
    disableProposalForwarding: args.flag("disable-proposal-forwarding"),
    stepDownOnRemoval: args.flag("step-down-on-removal"),
  };
}

function addNodes(env: InteractionEnv, args: Arguments): void {
  const index = args.number("index", 0);
  const voters = args.list("voters").map(BigInt);
  const learners = args.list("learners").map(BigInt);
  const confState = { ...EMPTY_CONF_STATE, voters, learners };
  const base: Snapshot | null =
    index === 0 ? null : { meta: { index, term: 1, confState }, data: EMPTY_BYTES };
  for (let n = Number(args.words[0]); n > 0; n--) env.addNode(base, readOptions(args));
}

const ORDERS: Readonly<Record<string, (mail: Message[]) => Message[]>> = {
  sent: (mail) => mail,
  reverse: (mail) => mail.toReversed(),
  twice: (mail) => mail.flatMap((m) => [m, m]),
};

function deliverMessages(env: InteractionEnv, args: Arguments): void {
  const type = args.value("type");
  const order = ORDERS[args.value("order") ?? "sent"];
  if (order === undefined) throw new ScriptError(`line ${args.directive.pos}: unknown order`);
  const deliveries = args.directive.args.flatMap(({ key, vals }): Delivery[] => {
    if (key === "drop") return vals.map((id) => ({ to: BigInt(id), drop: true }));
    return vals.length === 0 ? [{ to: BigInt(key), drop: false }] : [];
  });
  let count = 0;
  for (const delivery of deliveries) {
    count += env.deliver(delivery, type === undefined ? null : messageTypeByName(type), order);
  }
  if (count === 0) env.print("no messages");
}

/** One node: plain. Several: a header each. */
function eachNode(what: string, work: (env: InteractionEnv, node: ScriptNode) => void): Command {
  return (env, args) => {
    const { ids } = args;
    for (const id of ids) {
      const node = env.node(id);
      if (ids.length === 1) {
        work(env, node);
        continue;
      }
      env.print(`> ${id} ${what}`);
      env.indented(() => {
        work(env, node);
      });
    }
  };
}

/** A dropped proposal is an error; a refused change is none, since an empty entry was appended in its place. */
function printRefusal(env: InteractionEnv, result: ConfChangeResult): void {
  if (result.ok) return;
  if (result.reason === "refused") env.printDetail(`${result.refusal}: ${result.detail}`);
  else env.print(PROPOSAL_DROPPED);
}

function reportSnapshot(env: InteractionEnv, args: Arguments): void {
  const outcome = args.words[2];
  if (outcome !== "ok" && outcome !== "fail") {
    throw new ScriptError(`line ${args.directive.pos}: the outcome is ok or fail`);
  }
  env.node(args.id(0)).raw.reportSnapshot(args.id(1), outcome === "ok");
}

const TRANSITION: Readonly<Record<string, ConfChangeTransition>> = {
  auto: ConfChangeTransition.Auto,
  implicit: ConfChangeTransition.JointImplicit,
  explicit: ConfChangeTransition.JointExplicit,
};

function proposeConfChange(env: InteractionEnv, args: Arguments): void {
  const transition = TRANSITION[args.value("transition") ?? "auto"];
  if (transition === undefined) throw new ScriptError(`line ${args.directive.pos}: unknown transition`);
  const change = { transition, changes: parseChanges(args.input), context: EMPTY_BYTES };
  const type = args.flag("v1") ? EntryType.ConfChange : EntryType.ConfChangeV2;
  printRefusal(env, env.node(args.id(0)).raw.proposeConfChange(change, type));
}

function printState(env: InteractionEnv): void {
  for (const { id, raw } of env.nodes) {
    const { confState, role, leader, hardState } = raw.status();
    const votes = confState.voters.includes(id) || confState.votersOutgoing.includes(id);
    const kind = votes ? "Voter" : "Non-Voter";
    env.print(`${id}: ${roleName(role)} (${kind}) Term:${hardState.term} Lead:${leader}`);
  }
}

function stabilize(env: InteractionEnv, args: Arguments): void {
  const { ids } = args;
  const wasSilent = env.isSilent;
  if (args.value("log-level") !== undefined) env.setSilent(args.value("log-level") === "none");
  env.stabilize(ids.length === 0 ? env.nodes : ids.map((id) => env.node(id)));
  env.setSilent(wasSilent);
}

function tick(env: InteractionEnv, args: Arguments, times: number): void {
  const { raw } = env.node(args.id(0));
  for (let n = 0; n < times; n++) raw.tick();
}

const COMMANDS: Readonly<Record<string, Command>> = {
  "add-nodes": addNodes,
  campaign: (env, args) => {
    env.node(args.id(0)).raw.campaign();
  },
  compact: (env, args) => {
    const node = env.node(args.id(0));
    node.storage.compact(Number(args.words[1]));
    env.printLog(node);
  },
  "deliver-msgs": deliverMessages,
  "forget-leader": (env, args) => {
    env.node(args.id(0)).raw.forgetLeader();
  },
  "log-level": (env, args) => {
    env.setSilent(args.words[0] === "none");
  },
  "process-append-thread": eachNode("processing append thread", (env, node) => {
    env.processAppendThread(node);
  }),
  "process-apply-thread": eachNode("processing apply thread", (env, node) => {
    env.processApplyThread(node);
  }),
  "process-ready": eachNode("handling Ready", (env, node) => {
    env.processReady(node);
  }),
  propose: (env, args) => {
    const data = new TextEncoder().encode(args.words[1] ?? "");
    printRefusal(env, env.node(args.id(0)).raw.propose([data]));
  },
  "propose-conf-change": proposeConfChange,
  "raft-log": (env, args) => {
    env.printLog(env.node(args.id(0)));
  },
  "raft-state": printState,
  "read-index": (env, args) => {
    if (!env.node(args.id(0)).raw.readIndex(args.id(1)).ok) env.printDetail("read dropped");
  },
  refused: (env, args) => {
    for (const [reason, count] of env.node(args.id(0)).raw.refusedMessages) env.print(`${reason}: ${count}`);
  },
  "report-unreachable": (env, args) => {
    env.node(args.id(0)).raw.reportUnreachable(args.id(1));
  },
  "report-snapshot": reportSnapshot,
  restart: (env, args) => {
    env.restart(args.id(0));
  },
  "send-snapshot": (env, args) => {
    env.sendSnapshot(env.node(args.id(0)), args.id(1));
  },
  "set-randomized-election-timeout": (env, args) => {
    env.node(args.id(0)).raw.raft.randomizedElectionTimeout = args.number("timeout", 0);
  },
  "show-details": (env) => {
    env.showDetails();
  },
  stabilize,
  status: (env, args) => {
    const { raft } = env.node(args.id(0)).raw;
    if (raft.role !== Role.Leader) return;
    raft.tracker.visit((id, progress) => {
      env.print(`${id}: ${progress.toString()}`);
    });
  },
  "tick-election": (env, args) => {
    tick(env, args, 3);
  },
  "tick-heartbeat": (env, args) => {
    tick(env, args, 1);
  },
  "transfer-leadership": (env, args) => {
    env.node(BigInt(args.number("from", 0))).raw.transferLeader(BigInt(args.number("to", 0)));
  },
};

/** Log lines are wording, not behaviour: they are dropped on both sides. */
function withoutLogLines(output: string): string {
  const kept = output.split("\n").filter((line) => !/^\s*(DEBUG|INFO|WARN|ERROR|FATAL)\b/.test(line));
  const text = kept.join("\n").trimEnd();
  return text === "" ? "ok" : text;
}

function runner(): (directive: Directive) => string {
  const env = new InteractionEnv();
  return (directive) => {
    const command = COMMANDS[directive.cmd];
    if (command === undefined)
      throw new ScriptError(`line ${directive.pos}: unknown command ${directive.cmd}`);
    command(env, new Arguments(directive));
    return withoutLogLines(env.takeOutput());
  };
}

/** Runs one script. @throws Error when the script itself is malformed, or the core breaks an invariant */
export function runInteractionFile(path: string): ScriptResult {
  const directives = parseFile(readFileSync(path, "utf8"));
  const expected = directives.map((d) => ({ ...d, expected: withoutLogLines(d.expected) }));
  return compare(path, expected, runner());
}

/** Replaces every expected output by what is printed now. The result has to be read before it is believed. */
export function rewriteInteractionFile(path: string): void {
  const text = readFileSync(path, "utf8");
  const lines = text.split("\n");
  const run = runner();
  const outputs = parseFile(text).map((d) => ({ range: d.expectedLines, output: run(d).split("\n") }));
  for (const { range, output } of outputs.toReversed()) {
    lines.splice(range[0], range[1] - range[0], ...output);
  }
  writeFileSync(path, lines.join("\n"));
}
