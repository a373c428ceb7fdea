/**
 * The core's values as the generated code of muster.raft.v1 has them, one to one.
 *
 * The enums of both sides have the same numbers; data is not copied.
 */
import type {
  ConfChange as WireConfChange,
  ConfState as WireConfState,
  Message as WireMessage,
} from "../generated/muster/raft/v1/raft";
import type { ConfChange, ConfState, Message } from "../raft/index";

/** `bytes` as a Buffer over the same memory. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A membership change as it travels. The values of both enums are the same numbers. */
export function confChangeToWire(change: ConfChange): WireConfChange {
  return {
    transition: change.transition,
    changes: change.changes.map(({ type, nodeId }) => ({ type, nodeId })),
    context: asBuffer(change.context),
  };
}

/** A message as the generated code has it; the data of a snapshot is left out. Not for the hot path. */
export function messageToWire(message: Message): WireMessage {
  const { snapshot } = message;
  return {
    type: message.type,
    to: message.to,
    from: message.from,
    term: message.term,
    logTerm: message.logTerm,
    index: message.index,
    entries: message.entries.map((entry) => ({
      term: entry.term,
      index: entry.index,
      type: entry.type,
      data: asBuffer(entry.data),
      confChange: entry.confChange === null ? undefined : confChangeToWire(entry.confChange),
    })),
    commit: message.commit,
    reject: message.reject,
    rejectHint: message.rejectHint,
    context: message.context,
    forced: message.forced,
    snapshot:
      snapshot === null
        ? undefined
        : {
            index: snapshot.meta.index,
            term: snapshot.meta.term,
            confState: confStateToWire(snapshot.meta.confState),
          },
  };
}

function confStateToWire(state: ConfState): WireConfState {
  return {
    voters: [...state.voters],
    learners: [...state.learners],
    votersOutgoing: [...state.votersOutgoing],
    learnersNext: [...state.learnersNext],
    autoLeave: state.autoLeave,
  };
}
