/**
 * Runner of the quorum scripts: `committed` and `vote` over a majority or joint configuration. Every directive is also
 * checked against a second algorithm and against the symmetries of joint configurations; a violation is printed, so
 * that the script fails.
 */
import { readFileSync } from "node:fs";
import { JointConfig, MajorityConfig, MAX_INDEX, VoteResult } from "../../src/raft/quorum";
import type { NodeId } from "../../src/raft/types";
import { naiveCommittedIndex } from "../raft/support/naive_quorum";
import { compare } from "./compare";
import type { ScriptResult } from "./compare";
import { parseFile } from "./datadriven";
import type { Directive } from "./datadriven";

const VOTE_NAME: Readonly<Record<VoteResult, string>> = {
  [VoteResult.Pending]: "VotePending",
  [VoteResult.Lost]: "VoteLost",
  [VoteResult.Won]: "VoteWon",
};

interface Setup {
  readonly config: MajorityConfig;
  /** Null unless the script asks for a joint configuration. */
  readonly outgoing: MajorityConfig | null;
  /** Known answers by id; a voter without one is absent. */
  readonly values: ReadonlyMap<NodeId, string>;
}

function values(directive: Directive, key: string): readonly string[] {
  return directive.args.find((arg) => arg.key === key)?.vals ?? [];
}

/** Answers are listed per id: those of cfg in order, then those of cfgj that cfg does not hold. */
function readSetup(directive: Directive, key: "idx" | "votes"): Setup {
  const ids = values(directive, "cfg").map(BigInt);
  const joint = directive.args.some((arg) => arg.key === "cfgj");
  const outgoing = values(directive, "cfgj")
    .filter((id) => id !== "zero")
    .map(BigInt);
  const unique = [...new Set([...ids, ...outgoing])];
  const answers = values(directive, key);
  if (answers.length > 0 && answers.length !== unique.length) {
    throw new Error(`line ${directive.pos}: ${answers.length} answers for ${unique.length} voters`);
  }
  const known = new Map<NodeId, string>();
  unique.forEach((id, i) => {
    const answer = answers[i];
    if (answer !== undefined && answer !== "_") known.set(id, answer);
  });
  return {
    config: new MajorityConfig(ids),
    outgoing: joint ? new MajorityConfig(outgoing) : null,
    values: known,
  };
}

/** The bar chart of acknowledged indexes: a voter's bar is as long as the number of voters with a smaller index. */
function chart(ids: readonly NodeId[], acked: ReadonlyMap<NodeId, number>): string {
  const n = ids.length;
  if (n === 0) return "<empty majority quorum>";
  const indexOf = (id: NodeId): number => acked.get(id) ?? 0;
  const lines = [`${" ".repeat(n)}    idx\n`];
  for (const id of ids) {
    const bar = ids.filter((other) => indexOf(other) < indexOf(id)).length;
    const head = acked.has(id) ? `${"x".repeat(bar)}>${" ".repeat(n - bar)}` : `?${" ".repeat(n)}`;
    lines.push(`${head} ${String(indexOf(id)).padStart(5)}    (id=${id.toString(16)})\n`);
  }
  return lines.join("");
}

function formatIndex(index: number): string {
  return index === MAX_INDEX ? "∞" : String(index);
}

function committed(directive: Directive): string {
  const setup = readSetup(directive, "idx");
  const acked = new Map([...setup.values].map(([id, text]) => [id, Number(text)] as const));
  const lookup = (id: NodeId): number | undefined => acked.get(id);
  const { config } = setup;
  const outgoing = setup.outgoing ?? new MajorityConfig();
  const joint = new JointConfig(config, outgoing);
  const index = setup.outgoing === null ? config.committedIndex(lookup) : joint.committedIndex(lookup);
  const same: readonly (readonly [string, number])[] = [
    ["second algorithm", Math.min(naiveCommittedIndex(config, acked), naiveCommittedIndex(outgoing, acked))],
    ["zero-joint", new JointConfig(joint.incoming, outgoing).committedIndex(lookup)],
    ["halves swapped", new JointConfig(outgoing, config).committedIndex(lookup)],
    [
      "joint with itself",
      Math.min(...[config, outgoing].map((c) => new JointConfig(c, c).committedIndex(lookup))),
    ],
  ];
  const wrong = same.filter(([, other]) => other !== index).map(([what, other]) => `${other} <-- ${what}\n`);
  return `${chart(joint.ids(), acked)}${wrong.join("")}${formatIndex(index)}`;
}

function vote(directive: Directive): string {
  const setup = readSetup(directive, "votes");
  const votes = new Map([...setup.values].map(([id, text]) => [id, text === "y"] as const));
  const { config } = setup;
  const outgoing = setup.outgoing ?? new MajorityConfig();
  const result =
    setup.outgoing === null ? config.voteResult(votes) : new JointConfig(config, outgoing).voteResult(votes);
  const same: readonly (readonly [string, VoteResult])[] = [
    ["zero-joint", new JointConfig(config, outgoing).voteResult(votes)],
    ["halves swapped", new JointConfig(outgoing, config).voteResult(votes)],
  ];
  const wrong = same
    .filter(([, other]) => other !== result)
    .map(([what, other]) => `${VOTE_NAME[other]} <-- ${what}\n`);
  return `${wrong.join("")}${VOTE_NAME[result]}`;
}

/** Runs one script. @throws Error when the script itself is malformed */
export function runFile(path: string): ScriptResult {
  return compare(path, parseFile(readFileSync(path, "utf8")), (directive) => {
    switch (directive.cmd) {
      case "committed":
        return committed(directive);
      case "vote":
        return vote(directive);
      default:
        throw new Error(`line ${directive.pos}: unknown command ${directive.cmd}`);
    }
  });
}
