/**
 * How the interaction scripts print messages, entries and Readys. The formats are read off the scripts.
 */
import {
  EntryType,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  MessageType,
  NO_NODE,
  Role,
} from "../../src/raft/index";
import type { ConfState, Entry, HardState, Message, NodeId, Ready, Snapshot } from "../../src/raft/index";
import { describeChanges } from "../../src/raft/confchange";

const MESSAGE_NAME: Readonly<Record<MessageType, string>> = {
  [MessageType.Hup]: "MsgHup",
  [MessageType.Beat]: "MsgBeat",
  [MessageType.Propose]: "MsgProp",
  [MessageType.Append]: "MsgApp",
  [MessageType.AppendResponse]: "MsgAppResp",
  [MessageType.Vote]: "MsgVote",
  [MessageType.VoteResponse]: "MsgVoteResp",
  [MessageType.Snapshot]: "MsgSnap",
  [MessageType.Heartbeat]: "MsgHeartbeat",
  [MessageType.HeartbeatResponse]: "MsgHeartbeatResp",
  [MessageType.Unreachable]: "MsgUnreachable",
  [MessageType.SnapshotStatus]: "MsgSnapStatus",
  [MessageType.CheckQuorum]: "MsgCheckQuorum",
  [MessageType.TransferLeader]: "MsgTransferLeader",
  [MessageType.TimeoutNow]: "MsgTimeoutNow",
  [MessageType.ReadIndex]: "MsgReadIndex",
  [MessageType.ReadIndexResponse]: "MsgReadIndexResp",
  [MessageType.PreVote]: "MsgPreVote",
  [MessageType.PreVoteResponse]: "MsgPreVoteResp",
  [MessageType.StorageAppend]: "MsgStorageAppend",
  [MessageType.StorageAppendResponse]: "MsgStorageAppendResp",
  [MessageType.StorageApply]: "MsgStorageApply",
  [MessageType.StorageApplyResponse]: "MsgStorageApplyResp",
  [MessageType.ForgetLeader]: "MsgForgetLeader",
};

const ROLE_NAME: Readonly<Record<Role, string>> = {
  [Role.Follower]: "StateFollower",
  [Role.Candidate]: "StateCandidate",
  [Role.Leader]: "StateLeader",
  [Role.PreCandidate]: "StatePreCandidate",
};

const ENTRY_NAME: Readonly<Record<EntryType, string>> = {
  [EntryType.Normal]: "EntryNormal",
  [EntryType.ConfChange]: "EntryConfChange",
  [EntryType.ConfChangeV2]: "EntryConfChangeV2",
};

export function roleName(role: Role): string {
  return ROLE_NAME[role];
}

/** The type that a script names. @throws Error for an unknown name */
export function messageTypeByName(name: string): MessageType {
  for (const [type, known] of Object.entries(MESSAGE_NAME)) {
    // Object.entries turns the enum's numbers into text.
    if (known === name) return Number(type);
  }
  throw new Error(`unknown message type ${name}`);
}

export function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => (line === "" ? line : `  ${line}`))
    .join("\n");
}

export function describeEntry(entry: Entry): string {
  const head = `${entry.term}/${entry.index} ${ENTRY_NAME[entry.type]}`;
  if (entry.confChange === null) return `${head} ${JSON.stringify(new TextDecoder().decode(entry.data))}`;
  const changes = describeChanges(entry.confChange.changes);
  return changes === "" ? head : `${head} ${changes}`;
}

export function describeHardState(state: HardState): string {
  const vote = state.vote === NO_NODE ? "" : ` Vote:${state.vote}`;
  return `Term:${state.term}${vote} Commit:${state.commit}`;
}

function describeConfState(state: ConfState): string {
  const list = (ids: readonly NodeId[]): string => `[${ids.join(" ")}]`;
  return (
    `Voters:${list(state.voters)} VotersOutgoing:${list(state.votersOutgoing)} Learners:${list(state.learners)} ` +
    `LearnersNext:${list(state.learnersNext)} AutoLeave:${state.autoLeave}`
  );
}

export function describeSnapshot({ meta }: Snapshot): string {
  return `Index:${meta.index} Term:${meta.term} ConfState:${describeConfState(meta.confState)}`;
}

function describeTarget(id: NodeId): string {
  if (id === LOCAL_APPEND_THREAD) return "AppendThread";
  if (id === LOCAL_APPLY_THREAD) return "ApplyThread";
  return id.toString(16);
}

const ELECTORAL: ReadonlySet<MessageType> = new Set([
  MessageType.Vote,
  MessageType.VoteResponse,
  MessageType.PreVote,
  MessageType.PreVoteResponse,
]);

/** @param details whether contexts are shown, which etcd-raft's harness prints for no message of these scripts */
export function describeMessage(m: Message, details = false): string {
  let text = `${describeTarget(m.from)}->${describeTarget(m.to)} ${MESSAGE_NAME[m.type]} Term:${m.term}`;
  text += ` Log:${m.logTerm}/${m.index}`;
  if (m.reject) text += ` Rejected (Hint: ${m.rejectHint})`;
  // In etcd-raft votes do not carry the commit index; in this core they do, and it is not printed.
  const electoral = ELECTORAL.has(m.type);
  if (m.commit !== 0 && !electoral) text += ` Commit:${m.commit}`;
  if (m.vote !== NO_NODE) text += ` Vote:${m.vote}`;
  if (details && m.context !== 0n && !electoral) text += ` Context:${m.context}`;
  const [only] = m.entries;
  if (m.entries.length === 1 && only !== undefined) text += ` Entries:[${describeEntry(only)}]`;
  else if (m.entries.length > 1) text += ` Entries:[\n${indent(m.entries.map(describeEntry).join("\n"))}\n]`;
  if (m.snapshot !== null) text += `\n  Snapshot: ${describeSnapshot(m.snapshot)}`;
  if (m.responses.length > 0) {
    text += ` Responses:[\n${indent(m.responses.map((each) => describeMessage(each, details)).join("\n"))}\n]`;
  }
  return text;
}

export function describeReady(ready: Ready, details = false): string {
  const lines: string[] = [];
  if (ready.softState !== null) {
    lines.push(`Lead:${ready.softState.leader} State:${roleName(ready.softState.role)}`);
  }
  if (ready.hardState !== null) lines.push(`HardState ${describeHardState(ready.hardState)}`);
  if (ready.readStates.length > 0) {
    lines.push(`ReadStates ${ready.readStates.map((s) => `${s.context}@${s.index}`).join(" ")}`);
  }
  if (ready.entries.length > 0) lines.push("Entries:", ...ready.entries.map(describeEntry));
  if (ready.snapshot !== null) lines.push(`Snapshot ${describeSnapshot(ready.snapshot)}`);
  if (ready.committedEntries.length > 0) {
    lines.push("CommittedEntries:", ...ready.committedEntries.map(describeEntry));
  }
  if (ready.messages.length > 0)
    lines.push("Messages:", ...ready.messages.map((m) => describeMessage(m, details)));
  if (lines.length === 0) return "<empty Ready>";
  return [`Ready MustSync=${ready.mustSync}:`, ...lines].join("\n");
}
