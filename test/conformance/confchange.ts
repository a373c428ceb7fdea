/**
 * Runner of the conf-change scripts: `simple`, `enter-joint`, `leave-joint` against one tracker per file. The last
 * index starts at 0 and rises by one after every directive, so that `next` of a member tells when it was added.
 */
import { readFileSync } from "node:fs";
import { Changer } from "../../src/raft/confchange";
import type { ChangeResult } from "../../src/raft/confchange";
import { ProgressTracker } from "../../src/raft/tracker";
import { ConfChangeType } from "../../src/raft/types";
import type { ConfChangeSingle } from "../../src/raft/types";
import { compare } from "./compare";
import type { ScriptResult } from "./compare";
import { parseFile } from "./datadriven";
import type { Directive } from "./datadriven";

const CHANGE_TYPE: ReadonlyMap<string, ConfChangeType> = new Map([
  ["v", ConfChangeType.AddVoter],
  ["l", ConfChangeType.AddLearner],
  ["r", ConfChangeType.Remove],
  ["u", ConfChangeType.Update],
]);

/** Reads "v1 l2 r3 u4". @throws Error for anything else */
export function parseChanges(text: string): ConfChangeSingle[] {
  return text
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => {
      const type = CHANGE_TYPE.get(word.charAt(0));
      if (type === undefined || !/^\d+$/.test(word.slice(1))) throw new Error(`unknown change ${word}`);
      return { type, nodeId: BigInt(word.slice(1)) };
    });
}

function change(changer: Changer, directive: Directive): ChangeResult {
  const changes = parseChanges(directive.input);
  switch (directive.cmd) {
    case "simple":
      return changer.simple(changes);
    case "enter-joint": {
      const autoLeave = directive.args.find((arg) => arg.key === "autoleave")?.vals[0] === "true";
      return changer.enterJoint(autoLeave, changes);
    }
    case "leave-joint":
      if (changes.length > 0) throw new Error("leave-joint takes no changes");
      return changer.leaveJoint();
    default:
      throw new Error(`unknown command ${directive.cmd}`);
  }
}

/** Runs one script. @throws Error when the script itself is malformed */
export function runFile(path: string): ScriptResult {
  const tracker = new ProgressTracker(10);
  let lastIndex = 0;
  return compare(path, parseFile(readFileSync(path, "utf8")), (directive) => {
    const result = change(new Changer(tracker, lastIndex), directive);
    lastIndex++;
    if (!result.ok) return result.error;
    tracker.install(result.config, result.progress);
    const lines = [tracker.config.toString()];
    tracker.visit((id, progress) => lines.push(`${id}: ${progress.toString()}`));
    return lines.join("\n");
  });
}
